"""Rules that return one of N draws: their laws by enumeration of all draws, in plain Python, and their divergence."""

import itertools
import math

import pytest
import torch
from two_letters import RESPONSES, VALUES, by_distribution_function, distance, divergence, draws, tilted

from guiders import BestOfN, BestOfPoisson, GuiderError, Pessimism, Rejection, SoftBestOfN
from guiders.laws import follows
from guiders.search.best_of_n import one_of

torch.set_num_threads(1)
MOST = max(VALUES.values())


def of_draws(n, rule) -> dict:
    """The law of a rule that says how likely each of N draws is taken, from their values."""
    law = dict.fromkeys(RESPONSES, 0.0)
    for picks in itertools.product(RESPONSES, repeat=n):
        chance = math.prod(RESPONSES[y] for y in picks)
        for y, share in zip(picks, rule([VALUES[y] for y in picks]), strict=True):
            law[y] += chance * share
    return law


def soft(temperature):
    def rule(values):
        weights = [math.exp(value / temperature) for value in values]
        return [weight / sum(weights) for weight in weights]

    return rule


def first_accepted(beta, most=None):
    def rule(values):
        shares, left = [], 1.0
        for value in values:
            accepted = min(1.0, math.exp((value - (max(values) if most is None else most)) / beta))
            shares.append(left * accepted)
            left *= 1 - accepted
        shares[values.index(max(values))] += left
        return shares

    return rule


def pessimistic(beta):
    def rule(values):
        low, high = min(values) - beta * len(values), max(values)
        for _ in range(60):  # the threshold at which the mean of relu is 1, by bisection
            middle = (low + high) / 2
            mean = sum(max(0.0, value - middle) for value in values) / (beta * len(values))
            low, high = (middle, high) if mean > 1 else (low, middle)
        return [max(0.0, value - low) / (beta * len(values)) for value in values]

    return rule


def best(values):
    return [float(i == values.index(max(values))) for i in range(len(values))]


RULES = [
    (SoftBestOfN(3, 0.7), soft(0.7), soft(1.4)),
    (Rejection(3, 0.7), first_accepted(0.7), first_accepted(1.4)),
    (Rejection(3, 0.7, MOST), first_accepted(0.7, MOST), first_accepted(0.7)),
    (Rejection(3, 0.7, 0.0), first_accepted(0.7, 0.0), first_accepted(0.7, MOST)),
    (Pessimism(3, 0.6), pessimistic(0.6), pessimistic(1.2)),
]


@pytest.mark.parametrize(("search", "rule", "wrong"), RULES, ids=lambda x: str(x) if isinstance(x, BestOfN) else "")
def test_the_law_is_that_of_all_draws(search, rule, wrong):
    found, exact = draws(search), of_draws(search.n, rule)
    assert sum(exact.values()) == pytest.approx(1)
    follows(found, exact)
    for other in (wrong, best, lambda values: [1 / len(values)] * len(values)):
        with pytest.raises(AssertionError):
            follows(found, of_draws(search.n, other))
    assert divergence(exact) <= search.divergence(3, 3) == one_of(search.n)


SOFTENING = [SoftBestOfN, Rejection, Pessimism]


@pytest.mark.parametrize("search", SOFTENING)
def test_little_softening_is_best_of_n_and_much_is_the_base(search):
    values = torch.tensor([[0.3, -1.0, 2.0, 1.9, 2.0, 0.0]], dtype=torch.float64)
    taken, kept = search(6, 1e-9).shares(values), search(6, 1e12).shares(values)
    assert float(taken[0, [2, 4]].sum()) == pytest.approx(1)
    first = [1, 0, 0, 0, 0, 0] if search is Rejection else [1 / 6] * 6  # that accepts what comes first
    assert kept[0].tolist() == pytest.approx(first, abs=1e-9)
    assert search(1, 0.5).shares(values[:, :1]).tolist() == [[1.0]]


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_soft_best_of_n_comes_near_the_tilted_law(n):
    """KL(tilted ‖ soft best-of-N) ≤ log(1 + CV²(exp(r/λ)) / N), and the nearer the larger N is."""
    law = of_draws(n, soft(0.8))
    mean = sum(p * math.exp(VALUES[y] / 0.8) for y, p in RESPONSES.items())
    square = sum(p * math.exp(2 * VALUES[y] / 0.8) for y, p in RESPONSES.items())
    bound = math.log(1 + (square / mean**2 - 1) / n)
    assert divergence(tilted(0.8), law) <= bound
    if n > 1:
        assert divergence(tilted(0.8), law) < divergence(tilted(0.8), of_draws(n - 1, soft(0.8)))


def test_accepted_draws_are_tilted_and_the_rest_is_the_best_that_was_rejected():
    """With a the acceptance Z exp(−most/β): tilted · (1 − (1−a)^N), and the best of N rejected draws."""
    n, beta = 3, 0.7
    accept = {y: math.exp((VALUES[y] - MOST) / beta) for y in RESPONSES}
    rejected = {y: p * (1 - accept[y]) for y, p in RESPONSES.items()}
    share = 1 - (1 - sum(p * accept[y] for y, p in RESPONSES.items())) ** n
    rest = by_distribution_function(lambda mass: mass**n, rejected)
    exact = {y: p * share + rest[y] for y, p in tilted(beta).items()}
    follows(draws(Rejection(n, beta, MOST)), exact)
    with pytest.raises(AssertionError):
        follows(draws(Rejection(n, beta, MOST)), tilted(beta))


def test_the_largest_of_the_draws_in_place_of_the_largest_value_is_biased_less_and_less():
    away = [distance(tilted(0.7), of_draws(n, first_accepted(0.7))) for n in (1, 2, 3, 4)]
    assert away == sorted(away, reverse=True)
    assert away[-1] > 0.01


@pytest.mark.parametrize(("n", "mean"), [(10, 0.5), (20, 3.0)])
def test_best_of_poisson(n, mean):
    """P(F(r) ≤ u) = u exp(μ(u − 1)), whose derivative is the density (1 + μu) exp(μ(u − 1))."""
    search = BestOfPoisson(n, mean)
    exact = by_distribution_function(lambda u: u * math.exp(mean * (u - 1)))
    follows(draws(search), exact)
    with pytest.raises(AssertionError):  # best of as many as there are on average
        follows(draws(search), by_distribution_function(lambda u: u ** (1 + mean)))
    assert sum(search.probabilities) == pytest.approx(1)
    assert divergence(exact) <= search.divergence(3, 3) <= one_of(n)


def test_best_of_poisson_looks_at_all_draws_where_there_are_fewer():
    p = [math.exp(-2.0), 2.0 * math.exp(-2.0), 1 - 3.0 * math.exp(-2.0)]
    follows(draws(BestOfPoisson(3, 2.0)), by_distribution_function(lambda u: p[0] * u + p[1] * u**2 + p[2] * u**3))
    assert BestOfPoisson(3, 0.0).probabilities == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SoftBestOfN(0), "n=0 is out of range"),
        (lambda: SoftBestOfN(4, 0.0), "temperature=0.0 is out of range; it must be above 0"),
        (lambda: Rejection(4, -1.0), "beta=-1.0 is out of range"),
        (lambda: Rejection(4, 1.0, math.nan), "most=nan is not a finite number"),
        (lambda: Pessimism(4, math.inf), "beta=inf is out of range"),
        (lambda: BestOfPoisson(4, -1.0), "mean=-1.0 is out of range"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_line(make, said):
    with pytest.raises(GuiderError, match=said) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("search", [SoftBestOfN(2), Rejection(2), Pessimism(2), BestOfPoisson(2)], ids=str)
def test_they_need_draws_that_differ(search):
    assert search.needs_draws
    assert not SoftBestOfN(1).needs_draws
