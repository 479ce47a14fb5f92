"""Calibrated values: ranks among the base's own draws."""

from collections import Counter
from dataclasses import dataclass, replace

import pytest
import torch
from tables import prompts, table
from tiny_models import END, VOCAB, lm

from guiders import (
    BestOfN,
    Calibrated,
    ChunkBeam,
    Guider,
    GuiderError,
    ImplicitValue,
    Likelihood,
    Sampling,
    Sum,
    generate,
)
from guiders.laws import check, decode, follows

torch.set_num_threads(1)
# eight of 23 letters and no end: a response is hardly ever drawn twice, so that rewards are as good as continuous
BASE, JUDGE = table(1, range(VOCAB - 1)), table(2, range(VOCAB - 1))
ASKED = Sampling(max_new_tokens=8, seed=3)
DRAWN = Sampling(max_new_tokens=8)


def ranks(value, search=None, count=600) -> list[float]:
    guider = Guider(BASE, value=value, search=search or ChunkBeam(1, 1, None))
    return [one.value for one in generate(guider, prompts(count), ASKED, batch_tokens=1 << 17)]


@dataclass(frozen=True)
class AmongItself(Calibrated):
    """Wrong: the first draw is the response itself, by the same random numbers."""

    def draws(self, guider, asked):
        found = super().draws(guider, asked)
        alone = Guider(guider.base, value=self.value, search=ChunkBeam(1, 1, None))
        for one in generate(alone, asked, replace(ASKED)):
            found[one.index][0] = one
        return found


def test_it_is_uniform_under_the_base():
    uniform = {k / 3: 1 / 4 for k in range(4)}
    follows(Counter(ranks(Calibrated(Likelihood(JUDGE), n=3, drawn=DRAWN))), uniform)
    with pytest.raises(AssertionError):
        follows(Counter(ranks(AmongItself(Likelihood(JUDGE), n=3, drawn=DRAWN))), uniform)


def test_best_of_n_has_mean_n_over_n_plus_1():
    found = ranks(Calibrated(Likelihood(JUDGE), n=4, drawn=DRAWN), BestOfN(4), 800)
    assert sum(found) / 800 == pytest.approx(4 / 5, abs=0.035)


def test_monotone_maps_of_the_reward_change_nothing():
    reward = Likelihood(JUDGE)
    plain = Guider(BASE, value=Calibrated(reward, n=5, drawn=DRAWN), search=BestOfN(4))
    scaled = replace(plain, value=Calibrated(Sum([(reward, 7.5)]), n=5, drawn=DRAWN))
    tilted = replace(plain, value=Calibrated(reward, n=5, tilt=10.0, drawn=DRAWN))
    uncalibrated = replace(plain, value=reward)
    groups = [decode(one, prompts(20), ASKED) for one in (plain, scaled, tilted, uncalibrated)]
    for one, other, third, raw in zip(*groups, strict=True):
        assert (one.tokens, one.value) == (other.tokens, other.value)
        assert one.tokens == third.tokens
        assert third.value == pytest.approx(torch.tensor(10.0 * one.value).exp().item(), rel=1e-6)
        # the calibrated reward of the reward's own choice is no lower: a tie in the sample may turn another way
        draws = plain.value.draws(plain, [prompts(20)[raw.index]])[0]
        assert one.value == pytest.approx(sum((d.value < raw.value) + (d.value == raw.value) / 2 for d in draws) / 5)


def test_laws():
    value = Calibrated(ImplicitValue(lm("gpt2", 5), lm("gpt2", 6)), n=3, drawn=Sampling(max_new_tokens=8))
    guider = Guider(lm("gpt2", 0, 1.0), value=value, search=ChunkBeam(2, 2, 3))
    check(guider, ["hat", "a dog"], Sampling(max_new_tokens=8, seed=3))


def test_the_draws_are_counted():
    """Two rows and three draws of eight tokens, none of which ends; the judge reads each but its last token."""
    guider = Guider(BASE, value=Calibrated(Likelihood(JUDGE), n=3, drawn=DRAWN), search=BestOfN(2))
    (one,) = generate(guider, [prompts(1)[0]], ASKED)
    assert END not in one.tokens
    assert one.forward_passes == (2 + 3) * 7 * 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"n": 0}, "n=0 is out of range"), ({"tilt": float("inf")}, "tilt=inf"), ({"value": "x"}, "give a value")],
)
def test_settings_out_of_range_are_one_line(settings, said):
    with pytest.raises(GuiderError, match=said) as caught:
        Calibrated(**{"value": Likelihood(JUDGE), **settings})
    assert "\n" not in str(caught.value)


def test_responses_longer_than_the_draws_are_refused():
    guider = Guider(BASE, value=Calibrated(Likelihood(JUDGE), drawn=Sampling(max_new_tokens=5)), search=BestOfN(2))
    with pytest.raises(GuiderError, match=r"longer than the 5 tokens of the draws; set drawn\.max_new_tokens"):
        list(generate(guider, prompts(1), ASKED))
