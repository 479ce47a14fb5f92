"""The shipped laws, for every guider on every architecture, in float64; hypothesis draws the settings."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import ARCHITECTURES, END, TOLERANCE, ending, lm, value

from guiders import (
    LM,
    BestOfN,
    ChunkBeam,
    Explicit,
    Guider,
    Implicit,
    ImplicitValue,
    QGuidance,
    Sampling,
    laws,
)

torch.set_num_threads(1)
PROMPTS = ["ab", "hello there", "q", "a fox jumps over the log"]


def guiders(architecture: str, base: LM, weight: float, search: ChunkBeam) -> dict:
    tuned, untuned = lm(architecture, 1), lm(architecture, 2)
    token, pair = Implicit(tuned, untuned, weight), ImplicitValue(tuned, untuned)
    scalar, vocab = Explicit(value(architecture)), Explicit(value(architecture, "vocab"))
    text = Explicit(value(architecture, tokenizer="bytes"))
    return {
        "base": Guider(base),
        "eft": Guider(base, token),
        "q_guidance": Guider(base, QGuidance(vocab.model, weight)),
        "best_of_n": Guider(base, None, scalar, BestOfN(search.width * search.successors)),
        "implicit_search": Guider(base, None, pair, search),
        "explicit_search": Guider(base, None, vocab, search),
        "text_search": Guider(base, None, text, search),
        "ivg": Guider(base, token, scalar, search),
        "same_pair": Guider(base, token, pair, search),
    }


METHODS = tuple(guiders("gpt2", lm("gpt2"), 1.0, ChunkBeam()))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("method", METHODS)
@given(
    ends=st.sets(st.integers(0, END - 1), max_size=4),
    weight=st.sampled_from([-0.5, 0.8, 2.0]),
    search=st.builds(ChunkBeam, st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 3, 5, None])),
    sampling=st.builds(
        Sampling,
        temperature=st.sampled_from([0.3, 0.9, 1.5]),
        max_new_tokens=st.integers(1, 14),
        seed=st.integers(0, 99),
    ),
    prompts=st.permutations(PROMPTS),
)
@settings(max_examples=3, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_laws(architecture, method, ends, weight, search, sampling, prompts):
    guider = guiders(architecture, ending(architecture, 0, ends), weight, search)[method]
    laws.check(guider, prompts, sampling, tolerance=TOLERANCE[architecture])
