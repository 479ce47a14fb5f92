"""Tiny random models, made in the test: every architecture, two layers, float64 so that equality is exact."""

import functools

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    Gemma2Config,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from guiders import LM
from guiders.models.value_model import ValueModel

VOCAB = 24
END = VOCAB - 1
CONTEXT = 64

_rope = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
_ends = {"vocab_size": VOCAB, "eos_token_id": END, "bos_token_id": END, "pad_token_id": None}
_long = {"max_position_embeddings": CONTEXT}


def configs() -> dict:
    """Name -> configuration; windows are shorter than the texts of the tests."""
    grouped = {**_rope, **_ends, **_long, "num_key_value_heads": 2}
    return {
        "gpt2": GPT2Config(n_embd=16, n_layer=2, n_head=4, n_positions=CONTEXT, **_ends),
        "llama": LlamaConfig(**grouped),
        "mistral": MistralConfig(**grouped, sliding_window=5),
        "qwen2": Qwen2Config(**grouped),
        "qwen3": Qwen3Config(**grouped, head_dim=8),
        "gpt_neox": GPTNeoXConfig(**_rope, **_ends, **_long),
        "gemma": GemmaConfig(**grouped, head_dim=8),
        "gemma2": Gemma2Config(
            **grouped, head_dim=8, sliding_window=4, attn_logit_softcapping=2.0, query_pre_attn_scalar=8
        ),
    }


ARCHITECTURES = tuple(configs())
# Gemma 2's own attention rounds its softmax to float32, whatever the model's type; the others are exact to rounding
TOLERANCE = {name: 2e-5 if name == "gemma2" else 1e-9 for name in ARCHITECTURES}


@functools.cache
def words() -> PreTrainedTokenizerFast:
    """One letter, one token: ids 0 to 21 are a to v, 22 is the space, 23 ends the text."""
    vocabulary = {chr(97 + i): i for i in range(VOCAB - 2)} | {" ": VOCAB - 2, "<end>": END}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=" "))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>", clean_up_tokenization_spaces=False)


@functools.cache
def byte_level() -> PreTrainedTokenizerFast:
    """One byte, one token, and an end: a character beyond ASCII takes several."""
    vocabulary = {c: i for i, c in enumerate([*sorted(pre_tokenizers.ByteLevel.alphabet()), "<end>"])}
    core = Tokenizer(models.BPE(vocabulary, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>", clean_up_tokenization_spaces=False)


def sharpened(model: torch.nn.Module, seed: int, spread: float) -> torch.nn.Module:
    """Random weights wide enough that models disagree, from a seed of their own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, spread, generator=generator)
            else:
                parameter.add_(torch.empty_like(parameter).normal_(0, 0.1, generator=generator))
    return model.double().eval()


@functools.cache
def lm(architecture: str = "gpt2", seed: int = 0, spread: float = 0.3, template: str | None = None) -> LM:
    """A language model over `words`."""
    config = configs()[architecture]
    model = sharpened(AutoModelForCausalLM.from_config(config), seed, spread)
    return LM(model, words(), template=template, name=f"{architecture}-{seed}")


def ending(architecture: str, seed: int, ends: set[int]) -> LM:
    """A base whose common tokens end a response: at the start of a chunk, in the middle, at its end, at the limit."""
    made = lm(architecture, seed, 1.0)
    base = LM(made.model, made.tokenizer, name=made.name)
    base.__dict__["eos_ids"] = tuple(sorted(ends | {END}))
    return base


@functools.cache
def value(architecture: str = "gpt2", kind: str = "scalar", seed: int = 7, tokenizer: str = "words") -> LM:
    """A value model; `tokenizer` "bytes" gives it another vocabulary than the language models'."""
    config = configs()[architecture]
    made = words() if tokenizer == "words" else byte_level()
    config.vocab_size = len(made)
    torch.manual_seed(seed)
    head = torch.nn.Linear(config.hidden_size, 1 if kind == "scalar" else config.vocab_size, bias=kind == "scalar")
    model = sharpened(ValueModel(AutoModel.from_config(config), head), seed, 0.3)
    return LM(model, made, name=f"{kind}-value-{seed}")


@functools.cache
def byte_lm(seed: int = 0) -> LM:
    """A language model over bytes: its text often ends inside a character."""
    config = GPT2Config(n_embd=16, n_layer=2, n_head=4, n_positions=CONTEXT, vocab_size=257, eos_token_id=256)
    return LM(sharpened(AutoModelForCausalLM.from_config(config), seed, 0.3), byte_level(), name=f"bytes-{seed}")
