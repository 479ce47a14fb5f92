"""The shipped laws, for every guider on every architecture, in float64."""

import pytest
import torch
from tiny_models import ARCHITECTURES, TOLERANCE, lm, value

from guiders import BestOfN, ChunkBeam, Explicit, Guider, Implicit, ImplicitValue, Sampling, laws

torch.set_num_threads(1)
PROMPTS = ["ab", "hello there", "q", "a fox jumps over the log"]
SAMPLING = Sampling(temperature=0.9, max_new_tokens=14, seed=3)


def guiders(architecture: str) -> dict:
    base, tuned, untuned = lm(architecture, 0, 1.0), lm(architecture, 1), lm(architecture, 2)
    token, pair = Implicit(tuned, untuned, 0.8), ImplicitValue(tuned, untuned)
    scalar, vocab = Explicit(value(architecture)), Explicit(value(architecture, "vocab"))
    return {
        "base": Guider(base),
        "eft": Guider(base, token=token),
        "best_of_n": Guider(base, value=scalar, search=BestOfN(4)),
        "implicit_search": Guider(base, value=pair, search=ChunkBeam(2, 2, 4)),
        "explicit_search": Guider(base, value=vocab, search=ChunkBeam(3, 2, 3)),
        "ivg": Guider(base, token=token, value=scalar, search=ChunkBeam(2, 3, 5)),
        "same_pair": Guider(base, token=token, value=pair, search=ChunkBeam(2, 2, 3)),
        "text_value": Guider(base, value=Explicit(value(architecture, tokenizer="bytes")), search=ChunkBeam(2, 2, 5)),
    }


METHODS = tuple(guiders("gpt2"))
EVERY = [(a, m) for a in ("gpt2", "mistral") for m in METHODS]
SOME = [(a, m) for a in ARCHITECTURES if a not in ("gpt2", "mistral") for m in ("ivg", "explicit_search")]


@pytest.mark.parametrize(("architecture", "method"), EVERY + SOME)
def test_laws(architecture, method):
    laws.check(guiders(architecture)[method], PROMPTS, SAMPLING, tolerance=TOLERANCE[architecture])
