"""The decoder against the naive oracle, on cases that hypothesis draws."""

from dataclasses import replace

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import ARCHITECTURES, CONTEXT, END, ending, lm, value

from guiders import (
    BestOfN,
    ChunkBeam,
    Explicit,
    Guider,
    Implicit,
    ImplicitValue,
    ReleasedChunkBeam,
    Sample,
    Sampling,
    generate,
)
from guiders.laws.oracle import naive_generate
from guiders.search import Boundary, Selection

torch.set_num_threads(1)
lengths = st.sampled_from([1, 2, 3, 5, 8, None])
searches = st.one_of(
    st.builds(BestOfN, st.integers(1, 5)),
    st.builds(ChunkBeam, st.integers(1, 3), st.integers(1, 3), lengths),
    st.builds(ReleasedChunkBeam, st.integers(1, 3), st.integers(1, 3), lengths),
)
samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0, 0.3, 1.0, 3.0]),
    top_k=st.sampled_from([0, 0, 5]),
    top_p=st.sampled_from([1.0, 1.0, 0.8]),
    max_new_tokens=st.sampled_from([1, 2, 5, 12, 20, 40]),
    seed=st.integers(0, 9),
    stop=st.sampled_from([(), (), ("a",), ("ab", "c d")]),
)
prompts = st.lists(st.text("abcdefg ", min_size=1, max_size=30), min_size=1, max_size=6)
PAIR = (lm("llama", 3), lm("gpt2", 4, template="ab {prompt} c"))
tokens = st.sampled_from([None, Implicit(*PAIR, weight=-0.5), Implicit(*PAIR, weight=1.5)])
values = st.one_of(
    st.just(ImplicitValue(*PAIR)),
    st.builds(
        lambda *which: Explicit(value(*which)),
        st.sampled_from(["gpt2", "mistral"]),
        st.sampled_from(["scalar", "vocab"]),
        st.just(7),
        st.sampled_from(["words", "bytes"]),
    ),
)


def assert_same(found, expected):
    assert [g.index for g in found] == [g.index for g in expected]
    for one, other in zip(found, expected, strict=True):
        assert (one.tokens, one.text, one.finish_reason) == (other.tokens, other.text, other.finish_reason)
        assert (one.value is None) == (other.value is None)
        torch.testing.assert_close(one.value or 0.0, other.value or 0.0, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(one.kl, other.kl, rtol=1e-5, atol=1e-5)
        assert one.kl_search == other.kl_search
        assert (one.log_ratio is None) == (other.log_ratio is None)
        torch.testing.assert_close(one.log_ratio or 0.0, other.log_ratio or 0.0, rtol=1e-5, atol=1e-5)


def ranked(search):
    """The rule of the three searches, on lists: rows by value, equal ones in their order; distinct texts first where
    an ended row is not copied."""

    def select(boundary: Boundary) -> Selection | None:
        values, valid, (texts,) = boundary.values[0].tolist(), boundary.valid[0].tolist(), boundary.responses()
        if any(value != value for value in values):
            return None  # best-of-N waits for the last row
        first, copies = [], []
        for row in sorted((i for i in range(len(values)) if valid[i]), key=lambda i: -values[i]):
            copied = not search.copies_ended and any(texts[row] == texts[other] for other in first)
            (copies if copied else first).append(row)
        return Selection(torch.tensor([(first + copies)[: search.survivors]]))

    return select


@given(
    architecture=st.sampled_from(ARCHITECTURES),
    ends=st.sets(st.integers(0, END - 1), max_size=6),
    token=tokens,
    scored=values,
    search=searches,
    sampling=samplings,
    asked=prompts,
    batch_tokens=st.sampled_from([None, 1, 200, 400]),
    cached=st.booleans(),
)
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None)
def test_search_equals_the_oracle(architecture, ends, token, scored, search, sampling, asked, batch_tokens, cached):
    guider = Guider(ending(architecture, 0, ends), token=token, value=scored, search=search)
    found = sorted(generate(guider, asked, sampling, batch_tokens=batch_tokens), key=lambda g: g.index)
    assert_same(found, naive_generate(guider, asked, sampling, cached=cached, select=ranked(search)))


@given(
    architecture=st.sampled_from(ARCHITECTURES),
    ends=st.sets(st.integers(0, END - 1), max_size=4),
    token=tokens,
    sampling=samplings,
    asked=prompts,
    batch_tokens=st.sampled_from([None, 1, 100]),
)
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None)
def test_sampling_equals_the_oracle(architecture, ends, token, sampling, asked, batch_tokens):
    guider = Guider(ending(architecture, 1, ends), token=token, search=Sample())
    found = sorted(generate(guider, asked, sampling, batch_tokens=batch_tokens), key=lambda g: g.index)
    assert_same(found, naive_generate(guider, asked, sampling, cached=False))


@given(order=st.permutations(range(6)), batch_tokens=st.sampled_from([None, 1, 250]))
@settings(max_examples=8, deadline=None, derandomize=True, database=None)
def test_order_and_batch_do_not_matter(order, batch_tokens):
    asked = ["a", "bcd efg", "abc", "gfedcba gfedcba", "d", "e f"]
    guider = Guider(ending("mistral", 0, {3, 5}), Implicit(*PAIR, 0.5), ImplicitValue(*PAIR), ChunkBeam(2, 2, 3))
    sampling = Sampling(max_new_tokens=20, seed=4)
    alone = [replace(next(generate(guider, [prompt], sampling)), index=i) for i, prompt in enumerate(asked)]
    mixed = generate(guider, [asked[i] for i in order], sampling, batch_tokens=batch_tokens)
    for generation in mixed:
        assert_same([replace(generation, index=order[generation.index])], [alone[order[generation.index]]])


def test_several_guides_add_up():
    base, (tuned, untuned) = lm("gpt2", 0, 1.0), PAIR
    guider = Guider(base, token=[Implicit(tuned, untuned, 0.5), Implicit(lm("qwen2", 5), base, 0.7)])
    sampling = Sampling(max_new_tokens=12)
    found = sorted(generate(guider, ["abc", "d"], sampling), key=lambda g: g.index)
    assert_same(found, naive_generate(guider, ["abc", "d"], sampling, cached=False))


def test_the_context_bounds_the_response():
    """A prompt that nearly fills a guide's context (its template is longer) leaves the response what is left."""
    prompt = "a" * (CONTEXT - 8)
    guider = Guider(ending("gpt2", 0, set()), token=Implicit(*PAIR))
    (generation,) = generate(guider, [prompt], Sampling(max_new_tokens=30, temperature=0.3))
    assert len(generation.tokens) <= CONTEXT - len(PAIR[1].encode_prompt(prompt)) < 8


def test_slots_that_stay_free_do_no_harm():
    """Eight long responses leave together, seven prompts are left: one slot goes on counting without a prompt."""
    base = ending("gpt2", 0, set())
    base.__dict__["eos_ids"] = ()  # nothing ends
    guider = Guider(base, value=ImplicitValue(*PAIR), search=ChunkBeam(1, 1, 1))
    sampling = Sampling(max_new_tokens=48, temperature=0.3, seed=1)
    asked = list("abcdefghijklmno")
    found = sorted(generate(guider, asked, sampling, batch_tokens=8 * 50), key=lambda g: g.index)
    assert_same(found, naive_generate(guider, asked, sampling))
    assert {len(generation.tokens) for generation in found} == {48}
