"""Bounds on the KL divergence of a search from the distribution that it samples (in nats).

A search draws from a proposal π (the base, or the base with token guidance) and selects. Both bounds are on
KL(search ‖ π); where the tokens are guided, add the token part, the exact sum on the response's own path.
"""

import numpy as np
from numpy.typing import ArrayLike

from reports.errors import ReportError


def best_of_n(n: ArrayLike) -> np.ndarray | float:
    """log N − (N−1)/N, an upper bound on KL(best-of-N ‖ π), exact when no two responses tie and π is continuous.

    With F the distribution function of the value under π, the chosen response has density N·F^(N−1) to π, and
    E[log N + (N−1) log F] = log N − (N−1)/N (Stiennon et al. 2020, app. G.3; Beirami et al. 2024 for the bound).
    """
    n = _counts("best-of-N", n)
    return _plain(np.log(n) - (n - 1) / n)


def chunk_beam(width: ArrayLike, successors: ArrayLike, selections: ArrayLike) -> np.ndarray | float:
    """log W + m·log K, an upper bound on KL(chunk beam search ‖ π).

    The search starts W·K rows and at each of the first m−1 selections keeps W rows and copies each K times, so after
    m chunks there are W·K rows that were drawn from π along W·K^m possible lines of descent. A line of descent, taken
    alone, is a draw from π, so a text y is expected among the rows at most W·K^m·π(y) times, and the search returns it
    at most as often as it is among the rows: q(y) ≤ W·K^m·π(y). Hence KL(q ‖ π) = E_q[log q/π] ≤ log W + m·log K.

    `selections` is m, the number of chunks that were selected from, the last one included. W=K=1 gives zero.
    """
    width, successors = _counts("chunk beam width", width), _counts("chunk beam successors", successors)
    selections = np.asarray(selections, float)
    if not (np.isfinite(selections) & (selections >= 0)).all():
        raise ReportError("chunk beam: a negative number of selections; give the chunks that were selected from")
    return _plain(np.log(width) + selections * np.log(successors))


def chunk_beam_path(width: ArrayLike, successors: ArrayLike) -> float:
    """log W + Σ log K_t for the numbers of successors K_t that each selection really gave a survivor (ended hypotheses
    free slots, so K_t may exceed K; where survivors differ, give the largest)."""
    width, successors = _counts("chunk beam width", width), _counts("chunk beam successors", successors)
    return float(np.log(width) + np.log(successors).sum())


def _counts(name: str, values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, float)
    if not (np.isfinite(values) & (values >= 1)).all():
        raise ReportError(f"{name}: a count below 1; give whole numbers of at least 1")
    return values


def _plain(values: np.ndarray) -> np.ndarray | float:
    return float(values) if np.ndim(values) == 0 else values
