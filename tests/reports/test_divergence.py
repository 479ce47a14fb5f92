import itertools
import math

import numpy as np
import pytest

from reports.divergence import best_of_n, chunk_beam
from reports.errors import ReportError


def kl(q, p):
    return sum(a * math.log(a / b) for a, b in zip(q, p, strict=True) if a > 0)


@pytest.mark.parametrize("n", [1, 2, 4, 16])
def test_best_of_n_is_exact_for_many_untied_responses(n):
    """With k equally likely responses of distinct value, the i-th best is chosen with ((i)^n − (i−1)^n)/k^n."""
    k = 20_000
    ranks = np.arange(k + 1) / k
    chosen = np.diff(ranks**n)
    assert kl(chosen, np.full(k, 1 / k)) == pytest.approx(best_of_n(n), abs=1e-3)
    assert best_of_n(n) == pytest.approx(math.log(n) - (n - 1) / n)


def test_best_of_n_bounds_any_small_distribution():
    p = np.array([0.5, 0.3, 0.2])  # values ascending
    below = np.concatenate([[0], np.cumsum(p)])
    for n in range(1, 9):
        assert kl(np.diff(below**n), p) <= best_of_n(n) + 1e-12


@pytest.mark.parametrize("n", [2, 3, 7])
def test_any_rule_that_returns_one_of_n_draws_is_bounded(n):
    """Rules as random tables, from the drawn multiset to one of it: none has more divergence, nor has the best rule."""
    rng, p = np.random.default_rng(0), np.array([0.5, 0.3, 0.15, 0.05])
    for rule in ("highest", *range(20)):
        chosen, table = np.zeros(4), {}
        for draws in itertools.product(range(4), repeat=n):
            seen = tuple(sorted(set(draws)))
            pick = max(seen) if rule == "highest" else table.setdefault(seen, rng.choice(seen))
            chosen[pick] += math.prod(p[i] for i in draws)
        assert kl(chosen, p) <= best_of_n(n) + 1e-12


def test_chunk_beam_bounds_the_exact_search():
    """W=1, K=2, two chunks of one binary token, the value counts ones: the search enumerated by hand."""
    p = 0.3
    best_of_two = {1: 1 - (1 - p) ** 2, 0: (1 - p) ** 2}
    texts = list(itertools.product([0, 1], repeat=2))
    search = [best_of_two[a] * best_of_two[b] for a, b in texts]
    base = [math.prod(p if token else 1 - p for token in text) for text in texts]
    assert 0 < kl(search, base) <= chunk_beam(1, 2, 2) < 2 * math.log(2)


def test_chunk_beam_of_one_is_as_tight_as_its_chunks():
    """W=1 with chunks of many untied values: every chunk is a best-of-K, and their divergences add up."""
    k, chunks = 4, 3
    ranks = np.arange(5001) / 5000
    one = kl(np.diff(ranks**k), np.full(5000, 1 / 5000))
    assert chunk_beam(1, k, chunks) == pytest.approx(chunks * one, abs=1e-2)


def test_chunk_beam_closed_forms():
    assert chunk_beam(1, 1, 40) == 0
    assert chunk_beam(4, 4, 3) == pytest.approx(math.log(256))
    # One chunk is best-of-(W·K), whose own bound is tighter.
    assert best_of_n(16) < chunk_beam(4, 4, 1) == pytest.approx(math.log(16))
    assert chunk_beam([1, 2], 2, [1, 2]) == pytest.approx([math.log(2) - 0.5, math.log(8)])


@pytest.mark.parametrize("call", [lambda: best_of_n(0), lambda: chunk_beam(0, 2, 1), lambda: chunk_beam(1, 2, -1)])
def test_counts_below_one_are_refused(call):
    with pytest.raises(ReportError):
        call()
