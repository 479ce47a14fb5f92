"""The memory-bandwidth floor of a decoding step: what must be read from memory, over the speed of a copy."""

import torch

from guiders import LM, Guider
from harness.bench.floor import chunks, output_head


def step_bytes(guider: Guider, prompt_lengths: list[int], new_tokens: int) -> float:
    """Bytes that a step must read, on average over a response: weights once, every distinct key and value once."""
    total, start = 0, 0
    for size in chunks(guider, new_tokens):
        total += chunk_bytes(guider, prompt_lengths, start, size)
        start += size
    return total / new_tokens


def chunk_bytes(guider: Guider, prompt_lengths: list[int], start: int, size: int) -> int:
    """Bytes that a chunk of `size` steps must read, after `start` tokens of every response.

    The base and the token guides read theirs at every step, a value once per chunk.
    """
    stepping = guider.models
    reads = () if guider.value is None else guider.value.reads(guider)
    total = 0
    for lm in stepping:
        held = sum(cached_tokens(guider, prompt_lengths, start, inside) for inside in range(size))
        total += size * weight_bytes(lm) + held * token_bytes(lm)
    for lm in (read.lm for read in reads if read.lm not in stepping):
        total += weight_bytes(lm) + cached_tokens(guider, prompt_lengths, start, 0) * token_bytes(lm)
    return total


def cached_tokens(guider: Guider, prompt_lengths: list[int], history: int, inside: int) -> int:
    """Distinct tokens that the rows hold after so many tokens of history and so many inside the chunk."""
    survivors, successors = guider.search.survivors, guider.search.successors
    return sum(prompt_lengths) + len(prompt_lengths) * survivors * (history + successors * inside)


def token_bytes(lm: LM) -> int:
    """Bytes of one token's keys and values in all layers."""
    config = lm.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * width * _item(lm)


def weight_bytes(lm: LM) -> int:
    """Bytes of the weights that a step reads: all but tables that are looked up (a tied one is the head's as well)."""
    output = output_head(lm)
    looked_up = {
        id(module.weight): module.weight.nbytes
        for module in lm.model.modules()
        if isinstance(module, torch.nn.Embedding) and module.weight is not output.weight
    }
    return sum(p.nbytes for p in lm.model.parameters()) - sum(looked_up.values())


def _item(lm: LM) -> int:
    return next(lm.model.parameters()).element_size()
