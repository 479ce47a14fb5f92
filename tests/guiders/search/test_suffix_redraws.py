"""The chain's stationary law by enumeration, and the law of what is decoded."""

import itertools
import math
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from tabular_value import log_prob, responses, table, tabular
from tiny_models import END, lm, value

from guiders import (
    Explicit,
    Guider,
    GuiderError,
    Implicit,
    ImplicitValue,
    Length,
    Likelihood,
    Sampling,
    SuffixRedraws,
    generate,
    laws,
)
from guiders.search import Boundary

torch.set_num_threads(1)
STEPS = 3
PROMPTS = [[*p, 0] for p in itertools.product(range(3, 19), repeat=2)]  # the table sees place and last token alone
ALL = list(responses(STEPS))
BASE = table(5)
TUNED, UNTUNED = table(6), table(7)


@dataclass(frozen=True)
class WithoutLengths(SuffixRedraws):
    """Wrong: the acceptance ratio without the length ratio."""

    def log_acceptance(self, boundary):
        return super().log_acceptance(replace(boundary, lengths=torch.ones_like(boundary.lengths)))


@dataclass(frozen=True)
class AlwaysAccepted(SuffixRedraws):
    """Wrong: proposals are the chain."""

    def log_acceptance(self, boundary):
        return torch.zeros_like(boundary.log_ratio[:, 0])


def accepted(search, x, y, worth, ratio, chunks: int = 2) -> float:
    """The probability that y takes the place of x at a boundary."""
    line = {"values": [worth[x], worth[y]], "log_ratio": [ratio[x], ratio[y]], "lengths": [len(x), len(y)]}
    seen = {name: torch.tensor([given], dtype=torch.float64) for name, given in line.items()}
    rest = dict.fromkeys(("before", "log_weights", "valid", "ended", "over", "counts", "limits", "equal"))
    boundary = Boundary(**seen, **rest, chunks=torch.tensor([chunks]), successors=1, numbers=None, responses=None)
    return math.exp(min(0.0, float(search.log_acceptance(boundary))))


def kernel(search, drawn, worth, ratio) -> np.ndarray:
    """One step of the chain, from its description: a place among the |x| tokens, a suffix by the guided law."""
    place = {y: i for i, y in enumerate(ALL)}
    moves = np.zeros((len(ALL), len(ALL)))
    for x, y in itertools.product(ALL, ALL):
        for t in (t for t in range(min(len(x), len(y))) if y[:t] == x[:t]):
            suffix = math.exp(log_prob(drawn, y) - log_prob(drawn, y[:t]))
            moves[place[x], place[y]] += suffix * accepted(search, x, y, worth, ratio) / len(x)
    return moves + np.diag(1 - moves.sum(1))


def first_move(search, drawn, worth, ratio) -> np.ndarray:
    """The first step: a whole response is proposed."""
    law = law_of({y: log_prob(drawn, y) for y in ALL})
    moves = law * np.array([[accepted(search, x, y, worth, ratio, 1) for y in ALL] for x in ALL])
    return moves + np.diag(1 - moves.sum(1))


def distance(p, q) -> float:
    return 0.5 * float(np.abs(p - q).sum())


def law_of(weights) -> np.ndarray:
    found = np.array([math.exp(weights[y]) for y in ALL])
    return found / found.sum()


@pytest.mark.parametrize("guided", [False, True])
def test_the_target_is_the_stationary_law_exactly(guided):
    """σK = σ; and not without the length ratio, nor where what a guide draws is not accounted for."""
    beta = 0.7
    drawn = BASE + 0.8 * (TUNED - UNTUNED) if guided else BASE
    worth = {y: log_prob(TUNED, y) - log_prob(UNTUNED, y) for y in ALL}
    base = {y: log_prob(BASE, y) for y in ALL}
    ratio = {y: log_prob(drawn, y) - base[y] for y in ALL}
    target = law_of({y: base[y] + worth[y] / beta for y in ALL})
    search = SuffixRedraws(1, beta)
    assert distance(target @ kernel(search, drawn, worth, ratio), target) < 1e-12
    assert distance(target @ kernel(WithoutLengths(1, beta), drawn, worth, ratio), target) > 1e-3
    if guided:
        assert distance(target @ kernel(search, drawn, worth, dict.fromkeys(ALL, 0.0)), target) > 1e-3


def decoded(search, token, scored) -> Counter:
    """What the decoder answers, over independent prompts and seeds."""
    guider = Guider(tabular(BASE), token, scored, search)
    drawn = (
        generate(guider, PROMPTS, Sampling(max_new_tokens=STEPS, seed=seed), batch_tokens=1 << 16) for seed in range(8)
    )
    return Counter(one.tokens for given in drawn for one in given)


@pytest.mark.parametrize("how", ["power", "power at a low temperature", "qalign"])
def test_what_is_decoded_is_the_chain_s_law(how):
    """After six steps, by powers of the kernel; for power sampling at temperature 1 the target, too, after 24."""
    alpha, base = 3.0, tabular(BASE)
    if how == "qalign":
        beta, worth = 0.7, {y: log_prob(TUNED, y) - log_prob(UNTUNED, y) for y in ALL}
        token, scored = None, ImplicitValue(tabular(TUNED), tabular(UNTUNED))
    else:
        beta, worth = 1 / (alpha - 1), {y: log_prob(BASE, y) for y in ALL}
        token, scored = None, Likelihood(base)
        if "low" in how:
            token = Implicit(base, None, weight=alpha - 1)  # logits times alpha
    drawn = BASE * alpha if token else BASE
    logs = {y: log_prob(BASE, y) + worth[y] / beta for y in ALL}
    target = law_of(logs)
    if how != "qalign":
        np.testing.assert_allclose(target, law_of({y: alpha * log_prob(BASE, y) for y in ALL}))
    ratio = {y: log_prob(drawn, y) - log_prob(BASE, y) for y in ALL}
    start = law_of({y: log_prob(drawn, y) for y in ALL})
    asked, steps = (SuffixRedraws(1, beta), drawn, worth, ratio), 24 if how == "power" else 6
    law = start @ first_move(*asked) @ np.linalg.matrix_power(kernel(*asked), steps - 1)
    if how == "power":
        assert distance(law, target) < 1e-3
        law = target
    exact = dict(zip(ALL, law.tolist(), strict=True))
    laws.follows(decoded(SuffixRedraws(steps, beta), token, scored), exact)
    with pytest.raises(AssertionError):
        laws.follows(decoded(AlwaysAccepted(steps, beta), token, scored), exact)


def test_without_the_length_ratio_what_is_decoded_is_another_law():
    """On a language where long responses are rare under the base and wanted by the reward."""
    worth, short = {y: float(len(y)) for y in ALL}, BASE.clone()
    short[:, :, END] += 1.0
    weights = {y: log_prob(short, y) + worth[y] / 0.6 for y in ALL}
    exact = dict(zip(ALL, law_of(weights).tolist(), strict=True))

    def drawn(kind):

        guider = Guider(tabular(short), None, Length(1.0), kind(24, 0.6))
        given = (
            one
            for seed in range(8)
            for one in generate(guider, PROMPTS, Sampling(max_new_tokens=STEPS, seed=seed), batch_tokens=1 << 16)
        )
        return Counter(one.tokens for one in given)

    laws.follows(drawn(SuffixRedraws), exact)
    with pytest.raises(AssertionError):
        laws.follows(drawn(WithoutLengths), exact)


def test_what_it_costs_by_hand():
    """Of 6 tokens each: two whole draws read 5 tokens each; a proposal that keeps t tokens reads its 6 − t − 1 new ones
    but the last, and the last one that it kept."""
    base = lm("gpt2", 0, 0.5)
    base = type(base)(base.model, base.tokenizer, name=base.name)
    base.__dict__["eos_ids"] = ()
    kept = []

    class Watched(SuffixRedraws):
        def select(self, boundary):
            selection = super().select(boundary)
            kept.append(int(selection.kept[0, 1]))
            return selection

    (one,) = generate(Guider(base, None, Likelihood(base), Watched(4, 1.0)), ["ab"], Sampling(max_new_tokens=6))
    assert one.forward_passes == 10 + sum((6 - t - 1) + (t > 0) for t in kept[:-1])


def test_all_laws_hold():
    pair = (lm("llama", 1), lm("gpt2", 2))
    for scored in (Likelihood(lm("gpt2", 0, 0.5)), Explicit(value())):
        guider = Guider(lm("gpt2", 0, 0.5), Implicit(*pair, 0.6), scored, SuffixRedraws(5, 0.8))
        laws.check(guider, ["ab", "hello there", "q"], Sampling(max_new_tokens=9, seed=2))


def test_bad_settings_are_named():
    for setting in ({"steps": 0}, {"beta": 0.0}, {"beta": math.nan}):
        with pytest.raises(GuiderError, match=next(iter(setting))):
            SuffixRedraws(**setting)
    with pytest.raises(GuiderError, match="temperature=0"):
        laws.decode(
            Guider(lm(), None, Likelihood(lm()), SuffixRedraws()), ["ab"], Sampling(temperature=0, max_new_tokens=4)
        )
