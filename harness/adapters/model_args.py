"""lm-eval's ``--model_args`` as overrides of the sweep's configuration."""

from typing import Any

from harness.config.compose import written

# the decoder fills its batches by itself
NOT_OURS = {"batch_size", "max_batch_size"}
# what lm-eval's command line passes where no device is named
LM_EVALS_DEVICE = "cuda:0"


def overrides(arguments: dict[str, Any]) -> list[str]:
    """Model arguments as ``key=value`` in Hydra's grammar; lm-eval's default device only where there is one."""
    if arguments.get("device") == LM_EVALS_DEVICE:
        arguments = {**arguments, "device": _device()}
    return [written(name, value) for name, value in arguments.items() if name not in NOT_OURS]


def _device() -> str:
    """lm-eval's default device where there is one, else the processor, as lm-eval's own models do."""
    import torch

    return LM_EVALS_DEVICE if torch.cuda.is_available() else "cpu"
