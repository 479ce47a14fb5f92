"""Weighted answers: draws of a law other than the one meant, and what their weights say of the one that is meant.

A search that weighs its answers (twisted sequential Monte Carlo) gives each a log-weight. With independent answers y_s
to a prompt and their weights w_s, Σ w f / Σ w estimates the mean of f under the law that is meant (self-normalised
importance sampling; Owen 2013, "Monte Carlo theory, methods and examples", ch. 9.2); its bias falls with the number of
answers, and one answer alone is not corrected at all.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

NO_WEIGHT = -1e300  # log-weights below it stand for a weight of 0: JSON has no infinity


def self_normalised(figures: ArrayLike, log_weights: ArrayLike) -> np.ndarray:
    """Figures whose plain mean over a prompt's seeds is Σ w f / Σ w.

    Args:
        figures, log_weights: ``[prompts, seeds]``; NaN = missing, in either.
    """
    figures = np.asarray(figures, float)
    shares = _shares(np.where(np.isfinite(figures), log_weights, np.nan))
    return figures * shares * (shares > -1).sum(1, keepdims=True)


def distortion(log_ratios: ArrayLike, log_weights: ArrayLike) -> np.ndarray:
    """KL(G ‖ L) in nats of every prompt, ``[prompts, 1]``, estimated: how far the law L that answers were drawn from is
    from the law G that their weights mean (docs/method.md, "Distortion"). NaN where no answer has a weight.

    Σ w r / Σ w − log mean w, with w the weight of an answer y and r = log π(y)/L(y), where G is π given that a response
    is valid. It is consistent in the number of answers and of particles; of one answer it is r − log w.

    Args:
        log_ratios: log L(y)/π(y), as in a record. log_weights: of the answers, log Ẑ. Both ``[prompts, seeds]``, NaN =
            missing.
    """
    ratios, weights = np.asarray(log_ratios, float), np.asarray(log_weights, float)
    weights = np.where(np.isnan(ratios), np.nan, np.where(weights < NO_WEIGHT, -np.inf, weights))
    given = (~np.isnan(weights)).sum(1)
    shares = np.nan_to_num(_shares(weights))
    evidence = logsumexp(np.where(np.isnan(weights), -np.inf, weights), 1) - np.log(np.maximum(given, 1))
    found = -np.where(shares > 0, ratios * shares, 0.0).sum(1) - evidence
    return np.where(np.isfinite(evidence), found, np.nan)[:, None]


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
