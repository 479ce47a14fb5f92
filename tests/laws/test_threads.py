"""Decoding from several threads at once: what each writes is what it writes alone."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tiny_models import ending, lm, value

from guiders import BestOfN, ChunkBeam, Explicit, Guider, Implicit, ImplicitValue, Sampling
from guiders.kv.exclusive import exclusive
from guiders.laws import decode

torch.set_num_threads(1)
PROMPTS, SAMPLING = ["ab", "hello there", "q"], Sampling(max_new_tokens=10, seed=3)


@pytest.fixture(autouse=True)
def hasty():
    """Threads change places a thousand times as often as they do by themselves."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


def methods(base, pair) -> list[Guider]:
    beam = ChunkBeam(2, 2, 3)
    return [
        Guider(base, Implicit(*pair, 0.8)),
        Guider(base, None, ImplicitValue(*pair), beam),
        Guider(base, None, Explicit(value(base.name.split("-")[0])), BestOfN(3)),
    ]


SHARED = methods(ending("llama", 0, {3}), (lm("llama", 1), lm("llama", 2)))
APART = [method for seed in (0, 4) for method in methods(ending("gpt2", seed, {3}), (lm("mistral", seed), lm()))[:1]]


@pytest.mark.parametrize("guiders", [SHARED, APART], ids=["sharing models", "with models of their own"])
def test_threads_write_what_they_write_alone(guiders):
    alone = [[one.tokens for one in decode(guider, PROMPTS, SAMPLING)] for guider in guiders]
    together = threading.Barrier(len(guiders))

    def at_once(guider):
        together.wait()
        return [[one.tokens for one in decode(guider, PROMPTS, SAMPLING)] for _ in range(3)]

    with ThreadPoolExecutor(len(guiders)) as pool:
        for expected, found in zip(alone, pool.map(at_once, guiders), strict=True):
            assert found == [expected] * 3


def test_a_model_is_as_it_was_for_the_other_threads():
    """transformers' own generation beside guided decoding, each in its turn: no pass sees the other's attention."""
    base, ids = SHARED[0].base, torch.tensor([[1, 2, 3]])
    expected, stop, found = base.model(ids).logits, threading.Event(), []

    def plain():
        while not stop.is_set():
            with exclusive(base.model), torch.inference_mode():
                found.append(base.model(ids).logits)

    thread = threading.Thread(target=plain)
    thread.start()
    decode(SHARED[0], PROMPTS, SAMPLING)
    stop.set()
    thread.join()
    assert len(found) > 1
    assert all(torch.equal(one, expected) for one in found)
