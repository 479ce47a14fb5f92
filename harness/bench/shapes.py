"""Random models of a given shape, made on the spot: speed does not depend on what the weights say.

Needs torch, transformers and tokenizers alone, so that a bare GPU machine can make them.
"""

import copy
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
)

from guiders import LM
from guiders.models.value_model import ValueModel

CONTEXT = 2048


@dataclass(frozen=True)
class Shape:
    """A family and the sizes of its base and its guides (tuned, untuned and value).

    "85M" and "10M" count the blocks, as is usual for GPT-2's 85M; token tables and heads come on top.
    """

    family: type
    vocabulary: int
    base: dict
    guide: dict


def _gpt2(layers: int, width: int, heads: int) -> dict:
    return {"n_layer": layers, "n_embd": width, "n_head": heads, "n_positions": CONTEXT}


def _llama(layers: int, width: int, heads: int, kv_heads: int, inner: int) -> dict:
    return {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": inner,
        "max_position_embeddings": CONTEXT,
    }


SHAPES = {
    "gpt2-85m": Shape(GPT2Config, 50257, _gpt2(12, 768, 12), _gpt2(6, 384, 6)),
    "llama-85m": Shape(LlamaConfig, 32000, _llama(12, 768, 12, 12, 2048), _llama(6, 384, 6, 6, 1024)),
    "mistral-7b": Shape(MistralConfig, 32000, _llama(32, 4096, 32, 8, 14336), _llama(32, 4096, 32, 8, 14336)),
    # what fits where three models of 7B and their base do not
    "llama-1b": Shape(LlamaConfig, 32000, _llama(22, 2048, 32, 4, 5632), _llama(22, 2048, 32, 4, 5632)),
    # where each of sixty methods has a few seconds
    "gpt2-3m": Shape(GPT2Config, 4096, _gpt2(4, 256, 4), _gpt2(2, 128, 2)),
    "tiny": Shape(GPT2Config, 256, _gpt2(2, 32, 2), _gpt2(1, 16, 2)),
}


def made(
    shape: Shape, dtype: torch.dtype, device: torch.device, vocabulary: int | None = None, value_head: str = "scalar"
) -> dict[str, LM]:
    """The models ``base``, ``tuned``, ``untuned`` and ``value`` of a shape, with random weights made on the device.

    No model has an end token, so that every variant decodes the same number of tokens.
    """
    vocabulary = vocabulary or shape.vocabulary
    tokenizer, found = word_tokenizer(vocabulary), {}
    for name in ("base", "tuned", "untuned", "value"):
        sizes = shape.base if name == "base" else shape.guide
        config = shape.family(vocab_size=vocabulary, bos_token_id=None, eos_token_id=None, pad_token_id=None, **sizes)
        model = _value(config, value_head, dtype, device) if name == "value" else _causal(config, dtype, device)
        found[name] = LM(model, tokenizer, name=name)
    return found


def _causal(config: PretrainedConfig, dtype: torch.dtype, device: torch.device) -> torch.nn.Module:
    with device:
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


def _value(config: PretrainedConfig, kind: str, dtype: torch.dtype, device: torch.device) -> ValueModel:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            model = ValueModel.from_config(copy.deepcopy(config), kind)
    finally:
        torch.set_default_dtype(before)
    # a head of zeros would tie all hypotheses, and nothing would ever be reordered
    torch.nn.init.normal_(model.score_head.weight)
    return model.to(dtype).eval()


def spread_prompts(count: int, shortest: int, longest: int, vocabulary: int, seed: int) -> list[list[int]]:
    """Random prompts whose lengths are spread evenly, in an order that is not that of their lengths."""
    lengths = torch.linspace(shortest, longest, count).round().long()
    draws = torch.Generator().manual_seed(seed)
    lengths = lengths[torch.randperm(count, generator=draws)]
    return [torch.randint(vocabulary, (int(n),), generator=draws).tolist() for n in lengths]


def word_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer of so many words, between spaces, and no special token; a text of ours has as many unknown words."""
    made = Tokenizer(WordLevel({f"w{i}": i for i in range(vocabulary)}, unk_token="w0"))
    made.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made)
