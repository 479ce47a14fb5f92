"""The shipped laws, for every guider on every architecture, in float64, at settings that each pair draws for itself."""

import os
import random

import pytest
import torch
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
DRAWS = int(os.environ.get("LAWS_DRAWS", "1"))  # settings of each pair; of GPT-2, which is quick, twice as many
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


def drawn(*seed: object) -> tuple[set[int], float, ChunkBeam, Sampling, list[str]]:
    """What ends a response, the token guide's weight, a search, a sampling and the prompts' order."""
    chance = random.Random(repr(seed))
    ends = set(chance.sample(range(END), chance.randint(0, 4)))
    search = ChunkBeam(chance.randint(1, 3), chance.randint(1, 3), chance.choice([1, 3, 5, None]))
    sampling = Sampling(
        temperature=chance.choice([0.3, 0.9, 1.5]), max_new_tokens=chance.randint(1, 14), seed=chance.randint(0, 99)
    )
    return ends, chance.choice([-0.5, 0.8, 2.0]), search, sampling, chance.sample(PROMPTS, len(PROMPTS))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("method", METHODS)
def test_laws(architecture, method):
    for draw in range(DRAWS if architecture != "gpt2" else 2 * DRAWS):
        ends, weight, search, sampling, prompts = drawn(method, architecture, draw)
        note = f"{ends=}, {weight=}, {search}, {sampling}, {prompts}"
        guider = guiders(architecture, ending(architecture, 0, ends), weight, search)[method]
        try:
            laws.check(guider, prompts, sampling, tolerance=TOLERANCE[architecture])
        except AssertionError as error:
            error.add_note(note)
            raise
