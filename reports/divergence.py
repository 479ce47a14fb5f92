"""Divergence of a guided model from its base, from records, and bounds on that of a search (in nats).

A search S draws from π_g (the base π, or the base with token guidance and cuts) and selects:
KL(S ‖ π) = KL(S ‖ π_g) + E_S[log π_g(y) − log π(y)]. The functions bound the first term; `of_records` adds the second.
docs/method.md has the proofs.
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from reports.errors import ReportError


def of_records(records: pd.DataFrame) -> np.ndarray:
    """KL from the base in nats, one figure a record: its mean over prompts and seeds is the divergence, or bounds it.

    Where a search chose, ``kl_search + log_ratio``; elsewhere ``kl``, the exact sum on the response's own path. NaN
    where nothing was recorded, and where a guided search was recorded before there was a log-ratio: its bound is not
    known.
    """
    kl, search, ratio = (records[name].to_numpy(float) for name in ("kl", "kl_search", "log_ratio"))
    bounded = np.where(np.isnan(ratio) & (kl == 0), search, search + ratio)
    return np.where((search > 0) | ~np.isnan(ratio), bounded, kl)


def best_of_n(n: ArrayLike) -> np.ndarray | float:
    """log N − (N−1)/N, an upper bound on KL(rule ‖ π) of any rule that returns one of N independent draws; exact for
    best-of-N where no two responses tie and π is continuous.

    With F the distribution function of the value under π, the chosen response has density N·F^(N−1) to π, and
    E[log N + (N−1) log F] = log N − (N−1)/N (Stiennon et al. 2020, app. G.3; Beirami et al. 2024 for the bound).
    """
    n = _counts("best-of-N", n)
    return _plain(np.log(n) - (n - 1) / n)


def chunk_beam(width: ArrayLike, successors: ArrayLike, chunks: ArrayLike) -> np.ndarray | float:
    """An upper bound on KL(chunk beam search ‖ π) for responses of m chunks: m (log K − (K−1)/K) where W = 1, else
    log W + m log K.

    Where m differs between responses, the bound is the mean over the responses that the search gives. One chunk for
    all, or K = 1, is one of W·K draws: `best_of_n` bounds it more tightly.
    """
    width, successors = _counts("chunk beam width", width), _counts("chunk beam successors", successors)
    chunks = np.asarray(chunks, float)
    if not (np.isfinite(chunks) & (chunks >= 0)).all():
        raise ReportError("chunk beam: a negative number of chunks; give those that the response has")
    return _plain(np.where(width == 1, chunks * best_of_n(successors), np.log(width) + chunks * np.log(successors)))


def _counts(name: str, values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, float)
    if not (np.isfinite(values) & (values >= 1)).all():
        raise ReportError(f"{name}: a count below 1; give whole numbers of at least 1")
    return values


def _plain(values: np.ndarray) -> np.ndarray | float:
    return float(values) if np.ndim(values) == 0 else values
