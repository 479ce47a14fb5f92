"""Nudging, BlendIn and entropy-adaptive decoding, against a simulation in plain Python on whole texts."""

import json
import math

import pytest
import torch
from configured import MODELS, configured, log_probs
from test_oracle import assert_same
from tiny_models import END, VOCAB, byte_level, ending, lm, words

from guiders import (
    LM,
    BlendIn,
    ChunkBeam,
    EntropyAdaptive,
    Guider,
    GuiderError,
    ImplicitValue,
    Nudging,
    Sampling,
    laws,
)
from guiders.laws import stepped_log_probs
from guiders.laws.oracle import naive_generate
from guiders.token.nudging import word_begins
from harness.backends.protocol import Asked
from harness.sweep.recorder import record

torch.set_num_threads(1)
BASE, SMALL = lm("gpt2", 0, 0.5), lm("llama", 3, 0.5)
PROMPTS, SAMPLING = ["ab", "hello there", "q"], Sampling(max_new_tokens=12, seed=3, temperature=0.9)
SPACE = VOCAB - 2


def nudged(base, guide, gamma, whole_words=True):
    """Where the guide steps in, and what both models are asked for, from rows of probabilities."""
    stepped, passes, inside = [], 0, False
    for t, (p, q) in enumerate(zip(base, guide, strict=True)):
        inside = bool(stepped) and stepped[-1] and whole_words and q.index(max(q)) not in (SPACE, END)
        asked_guide = inside or max(p) < gamma or (bool(stepped) and stepped[-1])
        passes += (t > 0) * ((not inside) + asked_guide)
        stepped.append(inside or max(p) < gamma)
    return stepped, passes


def blended(base, guide, gamma):
    """The share of the guide in every token's distribution (the authors' ``compute_blend_alpha``)."""
    shares = []
    for p, q in zip(base, guide, strict=True):
        share = max(q) / (max(p) + max(q)) + 0.1 * p[q.index(max(q))]
        shares.append(min(share, 1.0) if max(p) < gamma else 0.0)
    return shares


def switched(base, small, threshold, window, hold):
    """Which tokens the base draws: entropies in bits, of the model that drew."""
    large, entropies = [], []
    for p, q in zip(base, small, strict=True):
        recent = entropies[-window:]
        choice = sum(recent) / len(recent) > threshold if recent else threshold < 0
        run = 0
        while run < len(large) and large[-1 - run] == large[-1]:
            run += 1
        large.append(large[-1] if large and run < hold else choice)
        entropies.append(-sum(x * math.log2(x) for x in (p if large[-1] else q) if x > 0))
    return large


def both(prompt, tokens):
    return [log_probs(model, prompt, tokens).exp().tolist() for model in (BASE, SMALL)]


def is_mixture(guider, prompt, tokens, shares):
    """The guided law is ``share · small + (1 − share) · base`` before every token."""
    found = stepped_log_probs(guider, prompt, tokens, length=3).exp()
    base, small = (log_probs(model, prompt, tokens).exp() for model in (BASE, SMALL))
    share = torch.tensor([float(x) for x in shares], dtype=torch.float64)[:, None]
    torch.testing.assert_close(found, share * small + (1 - share) * base, rtol=0, atol=1e-9)


@pytest.mark.parametrize("gamma", [0.25, 0.4])
def test_nudging_takes_the_guide_to_the_end_of_its_word(gamma):
    guider, told_apart = Guider(BASE, Nudging(SMALL, gamma)), False
    for one in laws.decode(guider, PROMPTS, SAMPLING):
        base, guide = both(PROMPTS[one.index], one.tokens)
        stepped, passes = nudged(base, guide, gamma)
        is_mixture(guider, PROMPTS[one.index], list(one.tokens), stepped)
        assert one.notes == {"nudged": pytest.approx(sum(stepped) / len(stepped))}
        assert one.forward_passes == passes < one.computed_passes
        told_apart |= stepped != nudged(base, guide, gamma, whole_words=False)[0]
    assert told_apart, "no word was of several tokens"


def test_the_ends_of_nudging():
    none, all_ = (laws.decode(Guider(BASE, Nudging(SMALL, gamma)), PROMPTS, SAMPLING) for gamma in (0.0, 1.01))
    assert [one.tokens for one in none] == [one.tokens for one in laws.decode(Guider(BASE), PROMPTS, SAMPLING)]
    assert [one.tokens for one in all_] == [one.tokens for one in laws.decode(Guider(SMALL), PROMPTS, SAMPLING)]
    assert {one.notes["nudged"] for one in none} == {0.0}
    assert {one.notes["nudged"] for one in all_} == {1.0}
    assert all(one.forward_passes == len(one.tokens) - 1 for one in none)  # of the base alone


def test_where_words_begin():
    spelled = LM(BASE.model, byte_level(), name="bytes")
    begins = word_begins(spelled, 257)
    assert begins[spelled.tokenizer(" ")["input_ids"]].all()
    assert begins[spelled.tokenizer("\n")["input_ids"]].all()
    assert begins[spelled.tokenizer.eos_token_id]
    assert not begins[spelled.tokenizer("az.9")["input_ids"]].any()
    assert word_begins(BASE, VOCAB).nonzero().flatten().tolist() == sorted({SPACE, words().eos_token_id})


def test_blend_in_mixes_by_confidence():
    guider, gamma = Guider(BASE, BlendIn(SMALL, 0.4)), 0.4
    for one in laws.decode(guider, PROMPTS, SAMPLING):
        shares = blended(*both(PROMPTS[one.index], one.tokens), gamma)
        is_mixture(guider, PROMPTS[one.index], list(one.tokens), shares)
        asked = [share > 0 for share in shares]
        assert one.notes == {"blended": pytest.approx(sum(asked) / len(asked))}
        assert one.forward_passes == len(asked) - 1 + sum(asked[1:])


def test_the_ends_of_blend_in():
    base, small = (laws.decode(Guider(model), PROMPTS, SAMPLING) for model in (BASE, SMALL))
    ends = [(BlendIn(SMALL, 0.0), base), (BlendIn(SMALL, 2.0, 0.0), base), (BlendIn(SMALL, 2.0, 1.0), small)]
    for guide, expected in ends:
        found = laws.decode(Guider(BASE, guide), PROMPTS, SAMPLING)
        assert [one.tokens for one in found] == [one.tokens for one in expected]


@pytest.mark.parametrize(("window", "hold"), [(1, 1), (5, 1), (3, 4)])
def test_entropy_adaptive_decoding_switches_by_the_rolling_mean(window, hold):
    guider, threshold = Guider(BASE, EntropyAdaptive(SMALL, 2.0, window, hold)), 2.0
    shares = []
    for one in laws.decode(guider, PROMPTS, SAMPLING):
        large = switched(*both(PROMPTS[one.index], one.tokens), threshold, window, hold)
        is_mixture(guider, PROMPTS[one.index], list(one.tokens), [not x for x in large])
        assert one.notes == {"large": pytest.approx(sum(large) / len(large))}
        assert one.forward_passes == len(one.tokens) - 1  # of the model that was chosen
        shares.append(one.notes["large"])
    assert 0 < sum(shares) < len(shares), "one model drew everything"


def test_the_ends_of_entropy_adaptive_decoding():
    for threshold, model in ((math.inf, SMALL), (-0.5, BASE)):
        for hold in (1, 3):
            guider = Guider(BASE, EntropyAdaptive(SMALL, threshold, hold=hold))
            assert [one.tokens for one in laws.decode(guider, PROMPTS, SAMPLING)] == [
                one.tokens for one in laws.decode(Guider(model), PROMPTS, SAMPLING)
            ]


METHODS = {
    "nudging": {"gamma": 0.4},
    "blend_in": {"gamma": 0.4},
    "entropy_adaptive": {"threshold": 2.0},
}


@pytest.mark.parametrize("name", METHODS)
def test_the_memory_follows_the_beam(name):
    """Laws and the oracle with a chunk beam, which shows each guide whole texts and no boundary."""
    guide = configured(name, {**MODELS, "base": BASE, "tuned": SMALL}, **METHODS[name]).guides[0]
    guider = Guider(ending("gpt2", 0, {3}), guide, ImplicitValue(SMALL, lm("gpt2", 4)), ChunkBeam(2, 2, 3))
    sampling = Sampling(max_new_tokens=9, seed=1)
    assert_same(laws.decode(guider, PROMPTS[:2], sampling), naive_generate(guider, PROMPTS[:2], sampling, cached=False))
    laws.check(guider, ["ab", "q"], Sampling(max_new_tokens=6, seed=1, temperature=0.9))


def test_the_record_has_the_share():
    one, plain = (laws.decode(Guider(BASE, token), ["ab"], SAMPLING)[0] for token in (Nudging(SMALL), None))
    row = json.loads(json.dumps(record(0, Asked("ab", "ab"), one)))
    assert row["notes"] == one.notes == {"nudged": row["notes"]["nudged"]}
    assert "notes" not in record(0, Asked("ab", "ab"), plain)


@pytest.mark.parametrize("guide", [Nudging(SMALL, 0.0), BlendIn(SMALL, 0.0), EntropyAdaptive(SMALL, -1.0)])
def test_a_guide_that_never_steps_in_needs_what_the_base_does(guide):
    """In a chunk beam too, with responses that a stop string cuts inside of a chunk."""
    rest = (ImplicitValue(SMALL, lm("gpt2", 4)), ChunkBeam(2, 2, 3))
    sampling = Sampling(max_new_tokens=10, seed=1, stop=("a", "d"))
    found, expected = (laws.decode(Guider(BASE, token, *rest), PROMPTS, sampling) for token in (guide, None))
    assert [one.tokens for one in found] == [one.tokens for one in expected]
    assert [one.forward_passes for one in found] == [one.forward_passes for one in expected]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Nudging(lm(), -0.1), r"Nudging\.gamma=-0\.1 is out of range"),
        (lambda: BlendIn(lm(), float("nan")), "out of range"),
        (lambda: BlendIn(lm(), 0.4, 1.1), r"BlendIn\.alpha=1\.1 is out of range"),
        (lambda: EntropyAdaptive(lm(), 1.0, 0), r"EntropyAdaptive\.window=0 is out of range"),
        (lambda: EntropyAdaptive(lm(), 1.0, 5, 0), r"hold=0 is out of range"),
        (lambda: EntropyAdaptive(lm(), float("nan")), "is no number"),
    ],
)
def test_bad_settings_are_one_line(make, message):
    with pytest.raises(GuiderError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
