"""A trace says of every token which place it has in the base's own order: by transformers, text by text."""

import pytest
import torch
from tiny_models import lm, value

from guiders import BestOfN, ChunkBeam, Explicit, Guider, Implicit, Sampling, generate


@pytest.mark.parametrize("search", [None, ChunkBeam(2, 3, 4), BestOfN(3)])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_base_s_ranks_are_those_of_its_own_logits(search, temperature):
    base = lm()
    token = Implicit(lm(seed=1), lm(seed=2), 2.0)
    guider = Guider(base, token=token) if search is None else Guider(base, token, Explicit(value()), search)
    prompts = [[3, 4, 5, 6], [7, 8, 9]]
    found = list(generate(guider, prompts, Sampling(temperature=temperature, max_new_tokens=11, seed=3), trace=True))
    shifted = 0
    for one in found:
        ids = [*prompts[one.index], *one.tokens]
        with torch.inference_mode():
            logits = base.model(torch.tensor([ids])).logits[0, len(prompts[one.index]) - 1 : -1]
        ranks = [int((row > row[token]).sum()) for row, token in zip(logits, one.tokens, strict=True)]
        assert one.trace["base_ranks"] == ranks
        shifted += sum(rank > 0 for rank in ranks)
    assert shifted
