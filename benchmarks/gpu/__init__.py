"""What only a GPU can show, by one command: `python -m benchmarks.gpu --minutes 8 --out FILE` (docs/gpu.md).

Needs torch, transformers, safetensors and tokenizers, no network and no installation; weights are random and made on
the device.
"""
