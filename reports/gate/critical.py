"""Critical values for a family of one-sided t-tests on paired losses: who exceeds them has lost more than is tolerated.

Two tests, and a loss must be significant by both. Joint sign flips of the prompts (Westfall and Young 1993, max-T) are
exact where run and baseline differ by chance alone, at any number of prompts. The bootstrap-t (Efron 1979; Hall 1988),
balanced over the rows by min-P (Beran 1988), knows the skew of each row: where a loss sits at its tolerance because few
prompts gain a lot, the flips alone are wrong in up to four gates of ten (docs/statistics.md has the figures).
"""

import math

import numpy as np
from scipy import stats

FALSE_ALARMS = 0.04  # for the whole gate; below 5% so that skewed losses that sit at their tolerance keep near it
FLIPS = 4999
RESAMPLES = 9999
BLOCK = 500  # flips or resamples at a time


def critical_values(excess: np.ndarray, paired: np.ndarray | None = None) -> np.ndarray:
    """[rows] what the t of a row must exceed, so that at most 4% of gates without a loss beyond its tolerance do.

    Args:
        excess: [prompts, rows] the loss beyond the tolerance.
        paired: [prompts, rows] False where a figure is missing; None: nowhere. Every row has at least two prompts.

    Returns:
        one value a row, infinite where so few prompts, or so few that differ, can prove nothing.
    """
    paired = np.ones(excess.shape, bool) if paired is None else paired
    excess = np.where(paired, excess, 0.0)
    return np.maximum(sign_flips(excess, paired.sum(0)), bootstrap_t(excess, paired))


def sign_flips(excess: np.ndarray, n: np.ndarray, seed: int = 0) -> float:
    """The value that the largest t of the family exceeds with probability at most 4% when the prompts' signs are fair.

    `excess` [prompts, rows] is 0 where missing, `n` [rows] the prompts of each row. The true signs count as one of the
    flips, which makes the test exact.
    """
    scale = np.abs(excess).max(0)
    excess = excess / np.where(scale > 0, scale, 1.0)
    square = (excess**2).sum(0)
    largest = [_t(excess.sum(0)[None], square, n).max(1)]
    rng = np.random.default_rng(seed)
    for start in range(0, FLIPS, BLOCK):
        signs = 2.0 * rng.integers(0, 2, (min(BLOCK, FLIPS - start), len(excess)), dtype=np.int8) - 1
        largest.append(_t(signs @ excess, square, n).max(1))
    return float(np.sort(np.concatenate(largest))[math.ceil((1 - FALSE_ALARMS) * (FLIPS + 1)) - 1])


def bootstrap_t(excess: np.ndarray, paired: np.ndarray, seed: int = 0) -> np.ndarray:
    """[rows] quantiles of each row's t over resampled prompts, all at the one level that 4% of the families fall below.

    The prompts are resampled jointly, so that the rows keep their correlation. A resample in which no prompt differs
    from the others has an infinite t: a mean that few prompts decide is never certain.
    """
    mean = excess.sum(0) / paired.sum(0)
    centred = np.where(paired, excess - mean, 0.0)
    scale = np.abs(centred).max(0)
    alike = scale <= 1e-12 * np.abs(excess).max(0)
    centred = np.where(alike, 0.0, centred / np.where(alike, 1.0, scale))
    rng, prompts = np.random.default_rng(seed), len(excess)
    t = []
    for start in range(0, RESAMPLES, BLOCK):
        size = min(BLOCK, RESAMPLES - start)
        drawn = rng.integers(0, prompts, (size, prompts)) + prompts * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * prompts).reshape(size, prompts)
        n = np.maximum(counts @ paired.astype(float), 1.0)
        t.append(_t(counts @ centred, counts @ centred**2, n))
    every = np.concatenate(t)
    ordered = np.sort(every, axis=0)
    above = [RESAMPLES - np.searchsorted(ordered[:, row], every[:, row]) for row in range(excess.shape[1])]
    level = np.sort(np.min(above, axis=0))[math.floor(FALSE_ALARMS * RESAMPLES) - 1]  # resamples, not a share
    return ordered[RESAMPLES - level]


def upper_quantile(loss: np.ndarray, level: float) -> float:
    """How many standard errors above the mean loss [prompts] its one-sided upper bound lies.

    Student's quantile, widened for losses that few prompts bear (Johnson 1978, "Modified t tests and confidence
    intervals for asymmetrical populations"); a skew to the other side does not narrow it.
    """
    n, centred = len(loss), loss - loss.mean()
    t = stats.t.ppf(1 - level, n - 1)
    spread = math.sqrt((centred**2).mean())
    if spread <= 1e-12 * np.abs(loss).max():
        return t
    skew = float((centred**3).mean()) / spread**3
    return t + max(skew, 0.0) * (1 + 2 * t**2) / (6 * math.sqrt(n))


def _t(total: np.ndarray, square: np.ndarray, n: np.ndarray) -> np.ndarray:
    """[draws, rows] t from sums and sums of squares; infinite where all are equal and their sum is not 0."""
    variance = (square - total**2 / n) / np.maximum(n - 1, 1)
    flat = (variance <= 1e-12 * square / n) | (n < 2)
    t = total / np.sqrt(n * np.where(flat, 1.0, variance))
    return np.where(flat, np.where(total == 0, 0.0, np.copysign(np.inf, total)), t)
