"""Logits of whole texts, in one pass without a cache that outlives it."""

from collections.abc import Iterator, Sequence

import torch

from guiders.attention import attending
from guiders.cache import SegmentCache
from guiders.lm import LM
from guiders.passes import Pass, in_a_row, in_groups
from guiders.states import RecurrentStates

LOGITS_BUDGET = 1 << 24  # logits (positions times vocabulary) held at once


@torch.inference_mode()
def full_logits(lm: LM, inputs: Sequence[list[int]]) -> Iterator[tuple[int, torch.Tensor]]:
    """Logits ``[len, V]`` of every token list, as ``(index, logits)``, in order; texts stand one after the other in a
    row, and nothing is padded; where states run through a row, each has one of its own."""
    recurrent = RecurrentStates(lm.config, (1, 1, 1)).recurrent
    for some in in_groups(inputs, 1 if recurrent else max(1, LOGITS_BUDGET // lm.config.vocab_size)):
        group = inputs[some]
        tokens, positions = in_a_row(group, lm.device)
        lengths = tuple(map(len, group))
        now = Pass("prefill", positions, slots=tuple(range(len(group))), lengths=lengths, prompt=max(lengths))
        cache = SegmentCache(len(group), 1, 1, 1, config=lm.config)
        with attending(lm.model, cache, now):
            logits = lm.model(input_ids=tokens, position_ids=positions, past_key_values=cache, use_cache=True).logits
        yield from enumerate(logits[0].split(lengths), some.start)
