"""Requests that come and go: a response is the one that its prompt has alone."""

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_searches_of_users import Halving, Redraw
from tiny_models import ending, lm, value

from guiders import BestOfN, ChunkBeam, Explicit, Guider, GuiderError, Implicit, ImplicitValue, Sampling, generate
from guiders.decoding.engine import Engine

torch.set_num_threads(1)
PAIR = (lm("llama", 3), lm("gpt2", 4))
BASE = ending("gpt2", 0, {3, 5})
GUIDERS = {
    "eft": Guider(BASE, Implicit(*PAIR, 0.7)),
    "ivg": Guider(BASE, Implicit(*PAIR, 0.7), Explicit(value("llama")), ChunkBeam(2, 2, 4)),
    "whole": Guider(BASE, None, ImplicitValue(*PAIR), ChunkBeam(2, 2, None)),
    "best of n, on text": Guider(BASE, None, Explicit(value("gpt2", "scalar", 7, "bytes")), BestOfN(3)),
    "gives rows up": Guider(BASE, None, Explicit(value()), Halving(4, 0.5, 3)),
    "goes back": Guider(BASE, None, ImplicitValue(*PAIR), Redraw(4, 3)),
}
requests = st.tuples(
    st.text("abcdefg ", min_size=1, max_size=14),
    st.builds(
        Sampling,
        temperature=st.sampled_from([0.7, 1.0]),
        max_new_tokens=st.sampled_from([1, 4, 11, 20]),
        seed=st.integers(0, 1),
        stop=st.sampled_from([(), ("ab",)]),
    ),
    st.integers(0, 3),  # steps before it comes
    st.sampled_from([False, False, False, True]),  # is it given up a step later?
)


def alone(guider, prompt, sampling):
    (one,) = generate(guider, [prompt], sampling)
    return one.tokens, one.text, one.finish_reason


@pytest.mark.parametrize("method", GUIDERS)
@given(asked=st.lists(requests, min_size=1, max_size=7), batch_tokens=st.sampled_from([None, 1, 300]))
@settings(max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_a_response_does_not_depend_on_when_its_request_came(method, asked, batch_tokens):
    guider, found, ids = GUIDERS[method], {}, {}
    engine = Engine(guider, batch_tokens)

    def step():
        for one in engine.step():
            assert one.index not in found
            found[one.index] = (one.tokens, one.text, one.finish_reason)

    for prompt, sampling, steps, given_up in asked:
        for _ in range(steps):
            step()
        identity = engine.add(prompt, sampling)
        if given_up:
            step()
            assert engine.cancel(identity) == (identity not in found)
            found.pop(identity, None)
        else:
            ids[identity] = (prompt, sampling)
    while not engine.idle:
        step()
    assert found == {identity: alone(guider, *request) for identity, request in ids.items()}
    assert (engine.running, engine.waiting, engine.step()) == (0, 0, [])


def test_slots_grow_with_the_requests_and_shrink_when_none_waits():
    engine, sampling = Engine(Guider(lm("gpt2", 9))), Sampling(temperature=0, max_new_tokens=60)
    engine.add("ab", sampling)
    engine.step()
    (group,) = engine._groups.values()
    assert (engine.running, engine.waiting, group.decoder.shape[0]) == (1, 0, 1)
    for _ in range(3):
        engine.add("ab", sampling)
    assert (engine.running, engine.waiting) == (1, 3)
    engine.step()
    assert (engine.running, engine.waiting, group.decoder.shape[0]) == (4, 0, 4)
    assert engine.cancel(1)
    assert engine.cancel(2)
    assert not engine.cancel(2)
    engine.step()
    assert (engine.running, group.decoder.shape[0]) == (2, 2)


def test_slots_are_no_more_than_was_allowed():
    engine = Engine(Guider(lm("gpt2", 9)), batch_tokens=3 * (3 + 20 + 16))
    for late in (1, 6):
        for _ in range(late):
            engine.add([1, 2, 3], Sampling(temperature=0, max_new_tokens=20))
        engine.step()
    assert (engine.running, engine.waiting) == (2, 4)  # the first has finished
    (group,) = engine._groups.values()
    assert group.decoder.shape[0] == 3


def test_a_request_that_does_not_fit_is_refused_and_the_others_go_on():
    engine = Engine(GUIDERS["ivg"])
    kept = engine.add("ab", Sampling(max_new_tokens=8))
    with pytest.raises(GuiderError, match="prompt 1 has 100 tokens"):
        engine.add("a" * 100, Sampling(max_new_tokens=8))
    with pytest.raises(GuiderError, match="prompt 1 has the id 999"):
        engine.add([999], Sampling(max_new_tokens=8))
    found = []
    while not engine.idle:
        found += engine.step()
    assert [one.index for one in found] == [kept]
    assert found[0].tokens == alone(GUIDERS["ivg"], "ab", Sampling(max_new_tokens=8))[0]


def test_a_limit_is_the_request_s_own():
    """Of two requests of one seed, the shorter response is the other's beginning."""
    engine, sampling = Engine(Guider(lm("gpt2", 9))), Sampling(max_new_tokens=30, seed=2)
    engine.add("ab", replace(sampling, max_new_tokens=5))
    engine.add("ab", sampling)
    found = []
    while not engine.idle:
        found += engine.step()
    short, long = sorted(found, key=lambda one: one.index)
    assert short.tokens == long.tokens[:5]
