"""Logits of whole texts, in one pass without a cache that outlives it."""

from collections.abc import Iterator, Sequence

import torch

from guiders.attention import attending
from guiders.cache import Pass, SegmentCache
from guiders.lm import LM

POSITIONS_BUDGET = 1 << 24  # logits (positions times vocabulary) held at once


@torch.inference_mode()
def full_logits(
    lm: LM, inputs: Sequence[list[int]], vocabulary: int | None = None
) -> Iterator[tuple[int, torch.Tensor]]:
    """Logits ``[len, V]`` of every token list, without a cache, longest first, as ``(index, logits)``."""
    order = sorted(range(len(inputs)), key=lambda i: -len(inputs[i]))
    width = lm.config.vocab_size
    while order:
        longest = len(inputs[order[0]])
        some = max(1, POSITIONS_BUDGET // (longest * width))
        group, order = order[:some], order[some:]
        tokens = torch.zeros(len(group), longest, dtype=torch.long)
        for row, index in enumerate(group):
            tokens[row, : len(inputs[index])] = torch.tensor(inputs[index])
        tokens = tokens.to(lm.device)
        positions = torch.arange(longest, device=lm.device).expand(len(group), -1)
        cache = SegmentCache(len(group), 1, 1, 1)
        with attending(lm.model, cache, Pass("prefill", positions, slots=torch.arange(len(group), device=lm.device))):
            logits = lm.model(input_ids=tokens, position_ids=positions, past_key_values=cache, use_cache=True).logits
        for row, index in enumerate(group):
            yield index, logits[row, : len(inputs[index]), :vocabulary]
