"""Weighted answers: draws of a law other than the one meant, and what their weights say of the one that is meant.

A search that weighs its answers (twisted sequential Monte Carlo) gives each a log-weight. With independent answers y_s
to a prompt and their weights w_s, Σ w f / Σ w estimates the mean of f under the law that is meant (self-normalised
importance sampling; Owen 2013, "Monte Carlo theory, methods and examples", ch. 9.2); its bias falls with the number of
answers, and one answer alone is not corrected at all.
"""

import numpy as np
from numpy.typing import ArrayLike


def self_normalised(figures: ArrayLike, log_weights: ArrayLike) -> np.ndarray:
    """Figures whose plain mean over a prompt's seeds is Σ w f / Σ w.

    Args:
        figures, log_weights: ``[prompts, seeds]``; NaN = missing, in either.
    """
    figures = np.asarray(figures, float)
    shares = _shares(np.where(np.isfinite(figures), log_weights, np.nan))
    return figures * shares * (shares > -1).sum(1, keepdims=True)


def effective_size(log_weights: ArrayLike) -> float:
    """Answers that say as much without weights: the sum over prompts of (Σ w)² / Σ w² (Kong 1992).

    Args:
        log_weights: ``[prompts, seeds]``, NaN = missing.
    """
    shares = np.nan_to_num(_shares(np.asarray(log_weights, float)))
    squares = (shares**2).sum(1)
    return float((1 / squares[squares > 0]).sum())


def _shares(log_weights: np.ndarray) -> np.ndarray:
    """Weights that add up to 1 over a prompt's seeds, NaN where there is none. Where all are 0 they are equal."""
    present = np.isfinite(log_weights) | np.isneginf(log_weights)
    most = np.where(present, log_weights, -np.inf).max(1, keepdims=True)
    weights = np.exp(np.where(np.isneginf(most), 0.0, log_weights - np.where(np.isneginf(most), 0.0, most)))
    weights = np.where(present, weights, np.nan)
    return weights / np.where(present.any(1, keepdims=True), np.nansum(weights, 1, keepdims=True), 1.0)
