"""The length-controlled GLM of prompts without calibration: a weight of the length, a quality, and nothing to tune.

P(model preferred) = sigmoid(w_length·tanh(Δlength/sd) + w_quality), as in AlpacaEval's `length_controlled_minimal`,
which holds both weights with an L1 penalty whose strength five folds of the rows choose: the folds depend on the order
of the rows, and shrinking the quality pulls every rate to 50%. Here the quality is free, so that the fitted mean is the
win rate, and w_length has the log-F(2, 2) penalty of Greenland and Mansournia (2015, "Penalization, bias reduction, and
default priors in logistic and related categorical and survival regressions"): two prior judgements at one unit of
length, one won and one lost. It keeps w_length finite where lengths separate wins from losses. Graded preferences vary
less than wins and losses, by the dispersion var(y)/(ȳ(1−ȳ)), and the penalty is less by as much. The objective is
strictly convex, with one minimum, wherever something was won and something lost.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reports.glm import blocks, logistic, minimise, standardised_under

PRIOR_JUDGEMENTS = 2.0


@dataclass(frozen=True)
class LengthOnly:
    """The two-weight problem of one setting, to be solved for many row weights at once.

    preference [n] in [0, 1] (NaN = missing: not fitted), delta [n] baseline minus model length.
    """

    preference: np.ndarray
    delta: np.ndarray

    def win_rates(self, row_weights: np.ndarray) -> np.ndarray:
        """Length-controlled win rates [R] in percent under `row_weights` [R, n]: 0 or 100 where all is lost or won."""
        return 100 * logistic(self.weights(row_weights)[:, 1])[0]

    def weights(self, row_weights: np.ndarray) -> np.ndarray:
        """The weights [R, 2] of length and quality, fitted under `row_weights` [R, n]; a quality of ∓infinity where
        all is lost or won."""
        return np.concatenate([self._block(block) for block in blocks(row_weights)])

    @cached_property
    def penalty(self) -> float:
        """The strength of the penalty on w_length with every row counted once."""
        wins = self.preference[np.isfinite(self.preference)]
        return float(PRIOR_JUDGEMENTS * _dispersion(wins.mean(), np.square(wins).mean()))

    def _block(self, row_weights: np.ndarray) -> np.ndarray:
        fitted = np.isfinite(self.preference)
        # A resample that drew no preference says nothing: it stays at the estimate.
        row_weights = np.where((row_weights * fitted).sum(1, keepdims=True) > 0, row_weights, 1.0)
        preference, used = np.where(fitted, self.preference, 0.0), row_weights * fitted
        total = used.sum(1)
        rate = (used @ preference) / total
        both = (used @ preference > 0) & (used @ (fitted - preference) > 0)
        weights = np.stack([np.zeros(len(rate)), np.where(rate > 0.5, np.inf, -np.inf)], 1)
        if both.any():
            rate, used = rate[both], used[both]
            strength = PRIOR_JUDGEMENTS * _dispersion(rate, used @ preference**2 / total[both])
            loss = _Loss(standardised_under(row_weights[both], self.delta), preference, used, strength)
            start = np.stack([np.zeros(len(rate)), np.log(rate) - np.log1p(-rate)], 1)
            weights[both] = minimise(loss, 0.0, start)
        return weights


def _dispersion(mean: np.ndarray, mean_square: np.ndarray) -> np.ndarray:
    """Variance of the preferences over that of wins and losses with the same mean: 1 for a judge without ties."""
    return np.clip((mean_square - mean**2) / (mean * (1 - mean)), 0.0, 1.0)


@dataclass(frozen=True)
class _Loss:
    """Penalised log loss of R problems that share preferences [n]: length and weight are [R, n], strength is [R]."""

    length: np.ndarray
    preference: np.ndarray
    weight: np.ndarray
    strength: np.ndarray

    def __call__(self, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Value [R], gradient [R, 2] and Hessian [R, 2, 2] at the weights `b` [R, 2]."""
        eta = b[:, :1] * self.length + b[:, 1:]
        probability, softplus = logistic(eta)
        residual = self.weight * (probability - self.preference)
        curvature = self.weight * probability * (1 - probability)
        curved = curvature * self.length
        prior, prior_softplus = logistic(b[:, 0])
        value = np.einsum("rn,rn->r", self.weight, softplus - eta * self.preference)
        value += self.strength * (prior_softplus - b[:, 0] / 2)
        gradient = np.stack([np.einsum("rn,rn->r", residual, self.length), residual.sum(1)], 1)
        gradient[:, 0] += self.strength * (prior - 0.5)
        hessian = np.empty((len(b), 2, 2))
        hessian[:, 0, 0] = np.einsum("rn,rn->r", curved, self.length) + self.strength * prior * (1 - prior)
        hessian[:, 0, 1] = hessian[:, 1, 0] = curved.sum(1)
        hessian[:, 1, 1] = curvature.sum(1)
        return value, gradient, hessian
