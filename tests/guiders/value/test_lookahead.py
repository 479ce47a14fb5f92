"""Values of what a response may go on to say: expectations by enumeration."""

import math

import pytest
import torch
from tables import log_p, prompts, responses, table
from tiny_models import END, lm, value

from guiders import ChunkBeam, Explicit, Guider, GuiderError, Likelihood, Lookahead, Sampling
from guiders.laws import check, decode

torch.set_num_threads(1)
PROMPTS = ["hat", "a dog"]


def test_length_0_is_the_value_itself():
    scalar = Explicit(value("gpt2", "scalar", 7))
    plain = Guider(lm("gpt2", 0, 1.0), value=scalar, search=ChunkBeam(2, 3, 2))
    ahead = Guider(plain.base, value=Lookahead(scalar, length=0), search=plain.search)
    asked = Sampling(max_new_tokens=9, seed=1)
    for one, other in zip(decode(plain, PROMPTS, asked), decode(ahead, PROMPTS, asked), strict=True):
        assert one.tokens == other.tokens
        assert one.value == pytest.approx(other.value, abs=1e-6)


@pytest.mark.parametrize("aggregate", ["mean", "log_mean_exp", "max"])
def test_rollouts_estimate_the_expectation_over_the_policy(aggregate):
    """E, log E exp and max of the value over all continuations of the policy, by enumeration."""
    base, policy, judge = table(1), table(2), table(3)
    prompt, begun = prompts(1)[0], [1, 2]
    odds, values = [], []
    for more in responses(2):
        odds.append(math.exp(log_p(policy, [*prompt, *begun], more)))
        values.append(log_p(judge, prompt, [*begun, *more]))
    mean = sum(p * v for p, v in zip(odds, values, strict=True))
    exact = {
        "mean": mean,
        "log_mean_exp": math.log(sum(p * math.exp(v) for p, v in zip(odds, values, strict=True))),
        "max": max(values),
    }[aggregate]
    spread = math.sqrt(sum(p * (v - mean) ** 2 for p, v in zip(odds, values, strict=True)) / 150)

    def estimate(of):
        ahead = Lookahead(Likelihood(judge), of, length=2, rollouts=150, temperature=1.0, aggregate=aggregate)
        return ahead.rescore(Guider(base, value=ahead, search=ChunkBeam(1, 1, 2)), prompt, [begun], [False])[0]

    assert sum(odds) == pytest.approx(1.0)
    assert estimate(policy) == pytest.approx(exact, abs=4 * spread + 1e-9)
    if aggregate != "max":  # wrong: rollouts of the base
        assert abs(estimate(None) - exact) > 4 * spread


def test_a_greedy_rollout_is_the_policys_most_likely_path():
    base, policy, judge = table(1), table(2), table(3)
    prompt, text = prompts(1)[0], [*prompts(1)[0], 1]
    while len(text) < 6 + len(prompt) and text[-1] != END:
        text.append(int(policy.model.table[min(len(text) - 1, 15), text[-1]].argmax()))
    ahead = Lookahead(Likelihood(judge), policy, length=5)
    found = ahead.rescore(Guider(base, value=ahead, search=ChunkBeam(1, 1, 2)), prompt, [[1], [1]], [False, True])
    expected = [log_p(judge, prompt, text[len(prompt) :]), log_p(judge, prompt, [1])]
    assert found == pytest.approx(expected, abs=1e-9)


def test_laws():
    ahead = Lookahead(Explicit(value("gpt2", "scalar", 7)), lm("gpt2", 3), length=3, rollouts=2, temperature=1.0)
    check(
        Guider(lm("gpt2", 0, 1.0), value=ahead, search=ChunkBeam(2, 2, 3)), PROMPTS, Sampling(max_new_tokens=7, seed=3)
    )


def test_a_rollout_stays_within_every_context():
    """A value of a context of 64 tokens, and a response that fills it."""
    base = lm("gpt2", 0, 0.3)
    never = type(base)(base.model, base.tokenizer, name="never")
    never.__dict__["eos_ids"] = ()
    ahead = Lookahead(Explicit(value("gpt2", "scalar", 7)), length=30)
    (one,) = decode(Guider(never, value=ahead, search=ChunkBeam(1, 2, 8)), ["hat"], Sampling(max_new_tokens=61))
    assert len(one.tokens) == 61


def test_passes_of_rollouts():
    """Two rows of two tokens: at the first boundary each reads its last token and two of the rollout's three; texts of
    five tokens are scored. At the second, the rows are over: texts of four."""
    never = lm("gpt2", 0, 0.3)
    never = type(never)(never.model, never.tokenizer, name="never")
    never.__dict__["eos_ids"] = ()
    ahead = Lookahead(Explicit(value("gpt2", "scalar", 7)), length=3)
    (one,) = decode(Guider(never, value=ahead, search=ChunkBeam(1, 2, 2)), ["hat"], Sampling(max_new_tokens=4))
    base = 2 * 1 + (2 * 1 + 1)  # two rows, two chunks: the pending token once per survivor
    assert one.forward_passes == base + 2 * (1 + 2) + 2 * 5 + 2 * 4


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"length": -1}, "length=-1"),
        ({"rollouts": 0}, "rollouts=0"),
        ({"rollouts": 2}, "all the same"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"aggregate": "median"}, "aggregate='median'"),
        ({"value": "x"}, "give one, as Explicit"),
    ],
)
def test_settings_out_of_range_are_one_line(settings, said):
    with pytest.raises(GuiderError, match=said) as caught:
        Lookahead(**{"value": Explicit(value()), **settings})
    assert "\n" not in str(caught.value)
