"""Logits of whole texts, in one pass without a cache that outlives it."""

from collections.abc import Iterator, Sequence

import torch

from guiders.attention import attending
from guiders.cache import Pass, SegmentCache
from guiders.lm import LM

LOGITS_BUDGET = 1 << 24  # logits (positions times vocabulary) held at once


@torch.inference_mode()
def full_logits(lm: LM, inputs: Sequence[list[int]]) -> Iterator[tuple[int, torch.Tensor]]:
    """Logits ``[len, V]`` of every token list, as ``(index, logits)``, in order; texts stand one after the other in a
    row, and nothing is padded."""
    some, start = max(1, LOGITS_BUDGET // lm.config.vocab_size), 0
    while start < len(inputs):
        stop, total = start + 1, len(inputs[start])
        while stop < len(inputs) and total + len(inputs[stop]) <= some:
            total, stop = total + len(inputs[stop]), stop + 1
        group = inputs[start:stop]
        tokens = torch.tensor([[token for text in group for token in text]], device=lm.device)
        positions = torch.cat([torch.arange(len(text), device=lm.device) for text in group])[None]
        lengths = tuple(map(len, group))
        now = Pass("prefill", positions, slots=tuple(range(len(group))), lengths=lengths, prompt=max(lengths))
        cache = SegmentCache(len(group), 1, 1, 1)
        with attending(lm.model, cache, now):
            logits = lm.model(input_ids=tokens, position_ids=positions, past_key_values=cache, use_cache=True).logits
        for index, text in enumerate(logits[0].split(lengths)):
            yield start + index, text
        start = stop
