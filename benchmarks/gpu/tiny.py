"""Tiny random models and their guiders, for checks of what is right rather than of what is fast."""

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
)

from guiders import LM, BestOfN, ChunkBeam, Explicit, Guider, Implicit, ImplicitValue
from guiders.models.value_model import ValueModel

VOCABULARY, CONTEXT = 24, 128
END = VOCABULARY - 1
PROMPTS = ("abcab", "aaaaaaaaa", "hello", "hi", "u")
METHODS = ("ivg", "eft", "implicit", "best_of_n")


def config(architecture: str):
    """gpt2, llama (four query heads on two key heads) or mistral (with a window of 5)."""
    ends: dict[str, Any] = {"vocab_size": VOCABULARY, "eos_token_id": END, "bos_token_id": END, "pad_token_id": None}
    if architecture == "gpt2":
        return GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=CONTEXT, **ends)
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    sizes |= {"num_key_value_heads": 2, "max_position_embeddings": CONTEXT, **ends}
    return LlamaConfig(**sizes) if architecture == "llama" else MistralConfig(**sizes, sliding_window=5)


def guider(method: str, architecture: str, dtype: torch.dtype, device: torch.device) -> Guider:
    """A guider of `METHODS` over four models that disagree."""
    base, tuned, untuned = (_lm(architecture, seed, dtype, device) for seed in range(3))
    pair = Implicit(tuned, untuned, 0.7)
    if method == "eft":
        return Guider(base, pair)
    if method == "best_of_n":
        return Guider(base, None, ImplicitValue(tuned, untuned), BestOfN(3))
    if method == "implicit":
        return Guider(base, pair, ImplicitValue(tuned, untuned), ChunkBeam(2, 3, 4))
    return Guider(base, pair, Explicit(_lm(architecture, 7, dtype, device, value=True)), ChunkBeam(2, 2, 5))


def _lm(architecture: str, seed: int, dtype: torch.dtype, device: torch.device, value: bool = False) -> LM:
    made = config(architecture)
    if value:
        model = ValueModel(AutoModel.from_config(made), torch.nn.Linear(made.hidden_size, 1))
    else:
        model = AutoModelForCausalLM.from_config(made)
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.empty_like(parameter).normal_(0, 0.3 if parameter.dim() > 1 else 0.1, generator=draws)
            parameter.copy_(noise if parameter.dim() > 1 else parameter + noise)
    return LM(model.to(device, dtype).eval(), _letters(), name=f"{architecture}-{seed}")


def _letters() -> PreTrainedTokenizerFast:
    """One letter, one token: a to v, the space, and an end."""
    words = {chr(97 + i): i for i in range(VOCABULARY - 2)} | {" ": VOCABULARY - 2, "<end>": END}
    core = Tokenizer(models.WordLevel(words, unk_token=" "))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>", clean_up_tokenization_spaces=False)
