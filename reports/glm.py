"""The length-controlled GLM (Dubois et al. 2024, arXiv 2404.04475): fitted as AlpacaEval does, and refitted fast.

P(model preferred) = sigmoid(w_length·tanh(Δlength/sd) + w_difficulty·difficulty + w_quality), with an L1 penalty on all
three weights and two "gamed" baselines (the baseline told to be concise, and to be verbose) that hold w_length down.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import make_scorer
from sklearn.model_selection import GroupKFold

GAMED_WEIGHT = 0.2 / 2  # AlpacaEval's regularize_to_baseline_lambda, shared by the two gamed baselines

GRID = np.logspace(-4, 4, 10)  # inverse penalties, scikit-learn's default and so AlpacaEval's


@dataclass(frozen=True)
class Calibration:
    """The gamed baselines [G]: their preferences in [0, 1], standardised length differences and difficulties."""

    preference: np.ndarray
    delta: np.ndarray
    difficulty: np.ndarray


def standardised(delta: np.ndarray, spread: np.ndarray | float) -> np.ndarray:
    """tanh of the length difference over its standard deviation: zero where no answer differs in length."""
    usable = np.asarray(spread) > 0
    return np.where(usable, np.tanh(delta / np.where(usable, spread, 1.0)), 0.0)


def standardised_under(row_weights: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """`standardised` [R, n] with the standard deviation of each weighting of the rows, `row_weights` [R, n]."""
    total = row_weights.sum(1)
    centred = delta - (row_weights @ delta / total)[:, None]
    spread = np.sqrt((row_weights * centred**2).sum(1) / np.maximum(total - 1, 1))
    return standardised(delta, np.where(spread > 1e-9 * (1 + np.abs(delta).max()), spread, 0.0)[:, None])


def cross_validated(features: np.ndarray, preference: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, float]:
    """AlpacaEval's own fit: the weights [k] and the inverse penalty C that 5-fold cross-validation chose.

    Every row enters twice, as a win weighted by its preference and as a loss weighted by the rest; folds, solver
    (liblinear), its tolerance and its seed are those of `alpaca_eval.metrics.glm_winrate`.
    """
    groups = np.tile(np.arange(len(preference)), 2)
    label = np.repeat([1, 0], len(preference))
    probability = np.concatenate([preference, 1 - preference])
    row_weight = np.tile(weight, 2)
    # scikit-learn hands the scorer its extra columns only under metadata routing; both settings end with this block.
    with warnings.catch_warnings(), sklearn.config_context(enable_metadata_routing=True):
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        scorer = make_scorer(_log_loss, response_method="predict_proba", greater_is_better=False)
        model = LogisticRegressionCV(
            cv=GroupKFold(n_splits=5),
            Cs=GRID,
            scoring=scorer.set_score_request(row_weight=True, probability=True),
            random_state=123,
            penalty="l1",
            solver="liblinear",
            fit_intercept=False,
        )
        model.set_fit_request(sample_weight=True)
        model.fit(
            np.tile(features, (2, 1)),
            label,
            sample_weight=probability * row_weight,
            groups=groups,
            row_weight=row_weight,
            probability=probability,
        )
    return model.coef_[0], float(np.ravel(model.C_)[0])


# of weights [R, k]: values [R], gradients [R, k] and Hessians [R, k, k]
Loss = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


def _log_loss(label: np.ndarray, predicted: np.ndarray, probability: np.ndarray, row_weight: np.ndarray) -> float:
    label = np.where(label == 1, probability, 1 - probability)
    predicted = np.clip(predicted, 1e-15, 1 - 1e-15)
    return -np.mean(row_weight * (label * np.log(predicted) + (1 - label) * np.log(1 - predicted)))


@dataclass(frozen=True)
class Refit:
    """The three-weight problem of one setting at a fixed penalty, to be solved for many row weights at once.

    preference [n] in [0, 1] (NaN = missing: not fitted, still predicted, as AlpacaEval does), delta [n] baseline minus
    model length, difficulty [n], C the inverse penalty, start [3] the weights to start at.
    """

    preference: np.ndarray
    delta: np.ndarray
    difficulty: np.ndarray
    calibration: Calibration
    C: float
    start: np.ndarray

    def win_rates(self, row_weights: np.ndarray) -> np.ndarray:
        """Length-controlled win rates [R] in percent, refitted under `row_weights` [R, n]."""
        return np.concatenate([self._block(block)[1] for block in blocks(row_weights)])

    def weights(self, row_weights: np.ndarray) -> np.ndarray:
        """The weights [R, 3] of length, difficulty and quality, refitted under `row_weights` [R, n]."""
        return np.concatenate([self._block(block)[0] for block in blocks(row_weights)])

    def _block(self, row_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        fitted = np.isfinite(self.preference)
        # A resample that drew no preference says nothing: it stays at the estimate.
        row_weights = np.where((row_weights * fitted).sum(1, keepdims=True) > 0, row_weights, 1.0)
        length = standardised_under(row_weights, self.delta)
        loss = _Loss(
            length, self.difficulty, np.where(fitted, self.preference, 0.5), row_weights * fitted, self.calibration
        )
        coefficients = minimise(loss, 1 / self.C, np.tile(self.start, (len(row_weights), 1)))
        predicted = _sigmoid(coefficients[:, 2:] + coefficients[:, 1:2] * self.difficulty)
        return coefficients, 100 * (row_weights * predicted).sum(1) / row_weights.sum(1)


@dataclass(frozen=True)
class _Loss:
    """Weighted log loss of R problems that share preferences and difficulties: length and weight are [R, n]."""

    length: np.ndarray
    difficulty: np.ndarray
    preference: np.ndarray
    weight: np.ndarray
    calibration: Calibration

    def __call__(self, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Value [R], gradient [R, 3] and Hessian [R, 3, 3] at the weights `b` [R, 3]."""
        eta = b[:, :1] * self.length + (b[:, 1:2] * self.difficulty + b[:, 2:])
        probability, softplus = logistic(eta)
        value = np.einsum("rn,rn->r", self.weight, softplus - eta * self.preference)
        residual = self.weight * (probability - self.preference)
        curvature = self.weight * probability * (1 - probability)
        curved = curvature * self.length
        hessian = np.empty((len(b), 3, 3))
        hessian[:, 0, 0] = np.einsum("rn,rn->r", curved, self.length)
        hessian[:, 0, 1] = hessian[:, 1, 0] = curved @ self.difficulty
        hessian[:, 0, 2] = hessian[:, 2, 0] = curved.sum(1)
        hessian[:, 1, 1] = curvature @ self.difficulty**2
        hessian[:, 1, 2] = hessian[:, 2, 1] = curvature @ self.difficulty
        hessian[:, 2, 2] = curvature.sum(1)
        gradient = np.stack(
            [np.einsum("rn,rn->r", residual, self.length), residual @ self.difficulty, residual.sum(1)], 1
        )
        self._add_gamed(b, value, gradient, hessian)
        return value, gradient, hessian

    def _add_gamed(self, b: np.ndarray, value: np.ndarray, gradient: np.ndarray, hessian: np.ndarray) -> None:
        gamed = self.calibration
        features = np.stack([np.tanh(gamed.delta), gamed.difficulty], 1)
        eta = b[:, :2] @ features.T
        probability, softplus = logistic(eta)
        value += GAMED_WEIGHT * (softplus.sum(1) - eta @ gamed.preference)
        gradient[:, :2] += GAMED_WEIGHT * (probability - gamed.preference) @ features
        squares = np.stack([features[:, 0] ** 2, features[:, 0] * features[:, 1], features[:, 1] ** 2], 1)
        second = GAMED_WEIGHT * (probability * (1 - probability)) @ squares
        hessian[:, :2, :2] += second[:, [0, 1, 1, 2]].reshape(-1, 2, 2)


def minimise(loss: Loss, penalty: float, b: np.ndarray, tolerance: float = 1e-6, most: int = 60) -> np.ndarray:
    """Weights [R, k] that minimise loss + penalty·|b|₁: proximal Newton steps, halved where the objective rises.

    The Newton steps converge quadratically, so that after a step below `tolerance` the error is far below it.
    """
    value, gradient, hessian = loss(b)
    value = value + penalty * np.abs(b).sum(1)
    scale = np.ones(len(b))
    for _ in range(most):
        step = _newton_target(b, gradient, hessian, penalty) - b
        trial = b + scale[:, None] * step
        if np.abs(step).max() < tolerance:
            return trial
        new_value, new_gradient, new_hessian = loss(trial)
        new_value = new_value + penalty * np.abs(trial).sum(1)
        better = new_value <= value + 1e-10 * (1 + np.abs(value))
        b = np.where(better[:, None], trial, b)
        value = np.where(better, new_value, value)
        gradient = np.where(better[:, None], new_gradient, gradient)
        hessian = np.where(better[:, None, None], new_hessian, hessian)
        scale = np.where(better, 1.0, scale / 2)
    return b


def _newton_target(b: np.ndarray, gradient: np.ndarray, hessian: np.ndarray, penalty: float) -> np.ndarray:
    """Minimiser [R, k] of the quadratic model plus penalty·|.|₁. Where no sign changes it is one linear solve;
    coordinate descent does the others."""
    k = b.shape[1]
    ridge = 1e-12 * (1 + np.trace(hessian, axis1=1, axis2=2))[:, None, None] * np.eye(k)
    linear = np.einsum("rjk,rk->rj", hessian, b) - gradient
    target = np.linalg.solve(hessian + ridge, (linear - penalty * np.sign(b))[:, :, None])[:, :, 0]
    crossing = ((np.sign(target) != np.sign(b)) | (b == 0)).any(1) & (penalty > 0)
    if not crossing.any():
        return target
    v, quadratic, slope = b[crossing].copy(), (hessian + ridge)[crossing], linear[crossing]
    for _ in range(100):
        before = v.copy()
        for j in range(k):
            rest = slope[:, j] - np.einsum("rk,rk->r", quadratic[:, j], v) + quadratic[:, j, j] * v[:, j]
            v[:, j] = np.sign(rest) * np.maximum(np.abs(rest) - penalty, 0) / quadratic[:, j, j]
        if np.abs(v - before).max() < 1e-10:
            break
    target[crossing] = v
    return target


def logistic(eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sigmoid(eta) and log(1 + exp(eta)) from one exponential."""
    small = np.exp(-np.abs(eta))
    return np.where(eta > 0, 1.0, small) / (1 + small), np.maximum(eta, 0) + np.log1p(small)


def _sigmoid(eta: np.ndarray) -> np.ndarray:
    return logistic(eta)[0]


def blocks(row_weights: np.ndarray, size: int = 64) -> Iterator[np.ndarray]:
    return (row_weights[i : i + size] for i in range(0, len(row_weights), size))
