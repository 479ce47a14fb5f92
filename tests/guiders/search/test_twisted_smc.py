"""Twisted sequential Monte Carlo on a language that can be enumerated."""

import itertools
import math
from collections import Counter
from dataclasses import dataclass, replace

import pytest
import torch
from tabular_value import PROMPT, TabularValue, log_prob, responses, table, tabular
from tiny_models import END, VOCAB, lm, value, words

from guiders import LM, Explicit, Guider, GuiderError, Implicit, ImplicitValue, Sampling, TwistedSMC, laws
from guiders.laws.tabular import optimal_logits

torch.set_num_threads(1)
STEPS, BETA = 4, 0.5
PROMPTS = [[*p, 0] for p in itertools.product(range(3, 19), repeat=2)]  # the table sees place and last token alone
BASE, TUNED, UNTUNED = table(1), table(2), table(3)
ALL = list(responses(STEPS))


def of_last_token(beta: float):
    """A reward of the place and the last token of a response, the model of its exact soft value, the optimal policy's
    logits, and log Z by enumeration."""
    start = len(PROMPT) - 1
    reward = torch.zeros_like(BASE)
    drawn = torch.randn(len(BASE), VOCAB, generator=torch.Generator().manual_seed(4)).double()
    reward[:, :, END] = drawn[:, None, END]
    reward[start + STEPS - 1] = drawn[start + STEPS - 1]
    optimal = optimal_logits(BASE, reward / beta, END, start, STEPS)
    soft = torch.zeros(len(BASE), VOCAB, dtype=torch.float64)
    soft[1:] = beta * (optimal - BASE.log_softmax(-1))[:-1, 0]
    worth = {y: float(reward[start + len(y) - 1, 0, y[-1]]) for y in ALL}
    log_z = math.log(sum(math.exp(log_prob(BASE, y) + worth[y] / beta) for y in ALL))
    return Explicit(LM(TabularValue(soft), words(), name="soft value")), optimal, worth, log_z


def tilted(worth) -> tuple[dict, float]:
    """π e^{r/β} / Z and Z, by enumeration."""
    weights = {y: math.exp(log_prob(BASE, y) + worth[y] / BETA) for y in ALL}
    z = sum(weights.values())
    return {y: w / z for y, w in weights.items()}, z


def test_the_exact_twist_makes_one_particle_an_exact_draw_and_the_evidence_exact():
    exact, optimal, worth, log_z = of_last_token(BETA)
    towards = Implicit(tabular(optimal), tabular(BASE))  # base + (optimal − base)
    guider = Guider(tabular(BASE), towards, exact, TwistedSMC(1, BETA, length=2))
    given = laws.decode(guider, PROMPTS, Sampling(max_new_tokens=STEPS))
    for one in given:
        assert one.log_weight == pytest.approx(log_z, abs=1e-8)
    law, _ = tilted(worth)
    counts = Counter(one.tokens for one in given)
    laws.follows(counts, law)
    with pytest.raises(AssertionError):
        laws.follows(counts, {y: math.exp(log_prob(BASE, y)) for y in ALL})


@dataclass(frozen=True)
class Forgetful(TwistedSMC):
    """Wrong: what was weighed before particles are resampled is forgotten."""

    def select(self, boundary):
        selection = super().select(boundary)
        moved = (selection.log_weights != boundary.log_weights).any(-1, keepdim=True)
        return replace(selection, log_weights=selection.log_weights.masked_fill(moved, 0.0))


@dataclass(frozen=True)
class Uncorrected(TwistedSMC):
    """Wrong: that a guide drew, and not the base, is left out."""

    def _weights(self, boundary):
        return super()._weights(boundary) + boundary.log_ratio


def any_twist(kind, guided: bool, seeds=range(6)):
    """Answers of four particles with a twist that is not the exact one: log(tuned/untuned) of the prefix."""
    pair = (tabular(TUNED), tabular(UNTUNED))
    guider = Guider(
        tabular(BASE), Implicit(*pair, 0.7) if guided else None, ImplicitValue(*pair), kind(4, BETA, 1, 0.9)
    )
    return [one for seed in seeds for one in laws.decode(guider, PROMPTS, Sampling(max_new_tokens=STEPS, seed=seed))]


def ratio_to(z: float, given) -> float:
    """Standard errors by which the mean evidence misses Z."""
    weights = torch.tensor([one.log_weight for one in given], dtype=torch.float64).exp()
    return float((weights.mean() - z).abs() / (weights.std() / math.sqrt(len(weights))))


@pytest.mark.parametrize("guided", [False, True])
def test_any_twist_and_any_guide_estimate_the_evidence_without_bias(guided):
    worth = {y: log_prob(TUNED, y) - log_prob(UNTUNED, y) for y in ALL}
    law, z = tilted(worth)
    given = any_twist(TwistedSMC, guided)
    assert ratio_to(z, given) < 4
    assert ratio_to(z, any_twist(Forgetful, guided)) > 6
    if guided:
        assert ratio_to(z, any_twist(Uncorrected, guided)) > 6
    # answers weighted by the evidence are a proper sample: the mean reward under the tilted law, 4 standard errors
    weights = torch.tensor([one.log_weight for one in given], dtype=torch.float64).softmax(0)
    rewards = torch.tensor([worth[one.tokens] for one in given], dtype=torch.float64)
    mean = float((weights * rewards).sum())
    error = float((weights * (rewards - mean)).square().sum().sqrt())
    assert abs(mean - sum(p * worth[y] for y, p in law.items())) < 4 * error


def test_all_laws_hold():
    pair = (lm("llama", 1), lm("gpt2", 2))
    for scored in (ImplicitValue(*pair), Explicit(value())):
        guider = Guider(lm("gpt2", 0, 0.5), Implicit(*pair, 0.6), scored, TwistedSMC(3, 0.8, 3, 0.9))
        laws.check(guider, ["ab", "hello there", "q"], Sampling(max_new_tokens=9, seed=2))


def test_bad_settings_are_named():
    for setting in ({"particles": 0}, {"beta": 0.0}, {"beta": math.inf}, {"length": 0}, {"threshold": 1.5}):
        with pytest.raises(GuiderError, match=next(iter(setting))):
            TwistedSMC(**setting)
    guider = Guider(lm(), None, Explicit(value()), TwistedSMC(2))
    with pytest.raises(GuiderError, match="temperature=0"):
        laws.decode(guider, ["ab"], Sampling(temperature=0, max_new_tokens=4))
