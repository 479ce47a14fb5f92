"""Length control on its own: degenerate input, and the fast refits against other solvers."""

import dataclasses
import math
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from reports.bootstrap import Resamples
from reports.errors import ReportError
from reports.glm import Calibration, Refit, standardised
from reports.length_control import calibration_of, length_controlled_draws, length_controlled_win_rate


def rows(n=60, seed=0, **columns):
    rng = np.random.default_rng(seed)
    frame = {
        "preference": rng.uniform(1, 2, n),
        "len_1": rng.integers(100, 2000, n),
        "len_2": rng.integers(100, 2000, n),
    }
    return pd.DataFrame(frame | columns)


@pytest.fixture(scope="module")
def refit():
    rng = np.random.default_rng(5)
    gamed = Calibration(rng.uniform(0, 1, 80), rng.normal(0, 1, 80), rng.normal(0, 1, 80))
    delta, difficulty = rng.normal(0, 300, 60).round(), rng.normal(0, 1, 60)
    preference = 1 / (1 + np.exp(-(0.5 * difficulty - 1 + rng.logistic(0, 1, 60))))
    return Refit(preference, delta, difficulty, gamed, C=21.5, start=np.zeros(3))


def liblinear(refit, counts):
    """The same problem written out row by row and solved by liblinear to 1e-10: the rate in percent."""
    places = np.repeat(np.arange(len(counts)), counts)
    delta, difficulty, preference = refit.delta[places], refit.difficulty[places], refit.preference[places]
    gamed, fitted = refit.calibration, np.isfinite(preference)
    length = np.tanh(delta / delta.std(ddof=1))
    ours = np.stack([length, difficulty, np.ones(len(delta))], 1)[fitted]
    theirs = np.stack([np.tanh(gamed.delta), gamed.difficulty, np.zeros(len(gamed.delta))], 1)
    features = np.concatenate([ours, theirs])
    probability = np.concatenate([preference[fitted], gamed.preference])
    weight = np.concatenate([np.ones(len(ours)), np.full(len(theirs), 0.1)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(
            C=refit.C,
            penalty="l1",
            solver="liblinear",
            fit_intercept=False,
            tol=1e-10,
            max_iter=100_000,
            random_state=1,
        ).fit(
            np.tile(features, (2, 1)),
            np.repeat([1, 0], len(features)),
            np.concatenate([probability, 1 - probability]) * np.tile(weight, 2),
        )
    w = model.coef_[0]
    return 100 * np.mean(1 / (1 + np.exp(-(w[2] + w[1] * difficulty))))


@pytest.mark.parametrize("C", [1e-2, 0.36, 21.5, 1e4])
def test_refits_equal_liblinear_on_the_resample_written_out(refit, C):
    refit = dataclasses.replace(refit, C=C)
    counts = Resamples(60, count=12, seed=3).weights
    expected = [liblinear(refit, c.astype(int)) for c in counts]
    assert refit.win_rates(counts) == pytest.approx(expected, abs=1e-3)


def test_refits_with_a_missing_preference_still_predict_its_row(refit):
    preference = refit.preference.copy()
    preference[4] = np.nan
    refit = dataclasses.replace(refit, preference=preference)
    counts = Resamples(60, count=6, seed=4).weights
    expected = [liblinear(refit, c.astype(int)) for c in counts]
    assert refit.win_rates(counts) == pytest.approx(expected, abs=1e-3)


def test_the_minimum_is_a_minimum(refit):
    """A derivative-free search from the solution finds nothing lower."""
    w = refit.weights(np.ones((1, 60)))[0]
    length = standardised(refit.delta, refit.delta.std(ddof=1))
    gamed = refit.calibration

    def objective(b):
        eta = b[0] * length + b[1] * refit.difficulty + b[2]
        other = b[0] * np.tanh(gamed.delta) + b[1] * gamed.difficulty
        loss = np.sum(np.logaddexp(0, eta) - refit.preference * eta)
        loss += 0.1 * np.sum(np.logaddexp(0, other) - gamed.preference * other)
        return loss + np.abs(b).sum() / refit.C

    found = minimize(objective, w, method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-13})
    assert objective(w) <= found.fun + 1e-10


def finite(result):
    return all(math.isfinite(v) for v in dataclasses.asdict(result).values())


@pytest.mark.parametrize("calibration", [None, "alpaca_eval"])
@pytest.mark.parametrize(
    "columns",
    [
        {"len_1": 500, "len_2": 500},
        {"preference": 1.3},
        {"preference": 1.5},
        {"preference": [1.0, 2.0] * 30},
        {"len_2": 0},
        {"preference": [np.nan] + [1.2] * 59},
    ],
)
def test_degenerate_rows_have_an_answer_without_a_warning(columns, calibration):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result, draws = length_controlled_draws(rows(**columns), Resamples(60, 50), calibration, join="row")
        interval = draws.interval()
    assert finite(result)
    assert 0 <= result.lc_win_rate <= 100
    assert interval.low <= result.lc_win_rate <= interval.high


def test_five_rows_are_enough():
    result, draws = length_controlled_draws(rows(5), Resamples(5, 200), None)
    assert finite(result)
    assert np.isfinite(draws.boot).all()
    assert np.isfinite(draws.jack).all()


def test_the_baseline_against_itself_is_half_without_width():
    same = rows(preference=[1.5] * 60, len_1=300, len_2=300)
    for calibration in (None, "alpaca_eval"):
        result, draws = length_controlled_draws(same, Resamples(60), calibration, join="row")
        interval = draws.interval()
        assert (result.lc_win_rate, interval.low, interval.high) == (50.0, 50.0, 50.0)


def test_seeds_of_a_prompt_stay_together():
    """Twice the same rows as two seeds are no new evidence: the draws are those of one seed."""
    one = rows(80)
    two = pd.concat([one, one]).assign(prompt=np.tile(np.arange(80), 2))
    resamples = Resamples(80)
    single, double = (length_controlled_draws(r, resamples, None)[1] for r in (one, two))
    assert double.boot.std() == pytest.approx(single.boot.std(), rel=0.1)  # drawn apart, it would be 0.71 of it


def without_folds(frame, places):
    """The two-weight problem of the rows at `places`, written out and solved by a quasi-Newton method: the rate in
    percent. It is the log loss plus twice the dispersion times a win and a loss at one unit of length."""
    y = frame["preference"].to_numpy()[places] - 1
    delta = (frame["len_1"] - frame["len_2"]).to_numpy(float)[places]
    length = np.tanh(delta / delta.std(ddof=1))
    dispersion = y.var() / (y.mean() * (1 - y.mean()))

    def objective(b):
        eta = b[0] * length + b[1]
        prior = 2 * dispersion * (np.logaddexp(0, b[0]) - b[0] / 2)
        return np.sum(np.logaddexp(0, eta) - y * eta) + prior

    return 100 / (1 + np.exp(-minimize(objective, np.zeros(2), method="BFGS", options={"gtol": 1e-7}).x[1]))


BINARY = np.random.default_rng(8).permutation([2.0] * 6 + [1.0] * 54)


@pytest.mark.parametrize("columns", [{}, {"preference": BINARY}])
def test_draws_are_the_fits_of_the_resamples_written_out(columns):
    frame, resamples = rows(**columns), Resamples(60, count=12, seed=3)
    result, draws = length_controlled_draws(frame, resamples, calibration=None)
    assert result.lc_win_rate == pytest.approx(without_folds(frame, np.arange(60)), abs=1e-4)
    expected = [without_folds(frame, np.repeat(np.arange(60), c.astype(int))) for c in resamples.weights]
    assert draws.boot == pytest.approx(expected, abs=1e-3)
    for i in (0, 17, 59):
        rest = length_controlled_win_rate(frame.drop(index=i), calibration=None)
        assert draws.jack[i] == pytest.approx(rest.lc_win_rate, abs=1e-6)


@pytest.mark.parametrize("calibration", [None, "alpaca_eval"])
@pytest.mark.parametrize("seed", range(3))
def test_a_resample_of_every_prompt_once_is_the_data(calibration, seed):
    """Draws that lie beside the figure, by whatever liblinear stopped short of the optimum, make a wrong interval."""
    resamples = Resamples(60, count=2)
    resamples.weights = np.ones((2, 60))
    result, draws = length_controlled_draws(rows(seed=seed), resamples, calibration, join="row")
    assert draws.boot == pytest.approx([result.lc_win_rate] * 2, abs=1e-9)


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_the_order_of_the_rows_does_not_matter(seed):
    """Here AlpacaEval's folds choose one penalty or another by the order, and the rate moves by over 0.1 points."""
    rng = np.random.default_rng([3, seed])
    delta = rng.normal(-200, 400, 128).round()
    won = rng.random(128) < 1 / (1 + np.exp(0.6 * np.tanh(delta / 400) - 0.2))
    frame = rows(128, preference=1.0 + won, len_1=5000, len_2=5000 - delta)
    orders = [frame.sample(frac=1, random_state=order) for order in range(6)]
    assert np.ptp([length_controlled_win_rate(order, calibration=None).lc_win_rate for order in orders]) < 1e-8


@pytest.mark.parametrize("rate", [0.01, 0.03, 0.1, 0.5, 0.9, 0.97, 0.99])
def test_a_judge_that_is_the_model_is_read_off_exactly(rate):
    """Preferences that are the GLM's own probabilities: at equal lengths the rate is `rate`, to a tenth of what is
    rarer."""
    delta = np.random.default_rng(1).normal(-200, 400, 64)
    eta = np.log(rate / (1 - rate)) - 0.8 * np.tanh(delta / delta.std(ddof=1))
    frame = rows(64, preference=1 + 1 / (1 + np.exp(-eta)), len_1=5000, len_2=5000 - delta)
    found = length_controlled_win_rate(frame, calibration=None).lc_win_rate
    assert found == pytest.approx(100 * rate, abs=10 * min(rate, 1 - rate))


@pytest.mark.parametrize("share", [0.05, 0.95])
def test_intervals_of_rare_wins_and_losses_hold_the_truth(share):
    """A judge that does not look at length: the length-controlled rate is the share of wins. Where it is given at all,
    the interval holds it."""
    wrong = 0
    for seed in range(120):
        rng = np.random.default_rng([4, seed])
        frame = rows(64, seed, preference=1 + (rng.random(64) < share))
        try:
            interval = length_controlled_draws(frame, Resamples(64, 300, seed), calibration=None)[1].interval()
        except ReportError:
            continue
        wrong += not interval.low <= 100 * share <= interval.high
    assert wrong <= 12  # of 120; 6 are expected of a 95% interval, 13 or more have a probability of 0.7%


@pytest.mark.parametrize("calibration", [None, "alpaca_eval"])
@pytest.mark.parametrize(
    ("preference", "message"),
    [
        (1.0, "0 of 60 prompts won"),
        (2.0, "0 of 60 prompts lost"),
        ([2.0] + [1.0] * 59, "1 of 60 prompts won"),
        ([1.0, 1.1] + [2.0] * 58, r"1\.99 of 60 prompts lost"),
    ],
)
def test_preferences_that_nearly_all_say_the_same_have_no_interval(preference, message, calibration):
    with pytest.raises(ReportError, match=message):
        length_controlled_draws(rows(preference=preference), Resamples(60, 20), calibration, join="row")
    if calibration is None:
        with pytest.raises(ReportError, match=message):
            length_controlled_win_rate(rows(preference=preference), calibration=None)


def test_two_won_prompts_are_enough_and_two_seeds_of_one_are_not():
    frame = rows(preference=[2.0, 2.0] + [1.0] * 58)
    assert 0 < length_controlled_win_rate(frame, calibration=None).lc_win_rate < 12
    with pytest.raises(ReportError, match="1 of 30 prompts won"):
        length_controlled_win_rate(frame.assign(prompt=np.repeat(np.arange(30), 2)), calibration=None)


def test_calibration_is_for_its_own_judge_and_baseline():
    judge, baseline = "weighted_alpaca_eval_gpt4_turbo:gpt-4-1106-preview", "gpt4_1106_preview"
    assert calibration_of([judge] * 3, [baseline] * 3) == "alpaca_eval"
    assert calibration_of(["weighted_alpaca_eval_gpt4_turbo:llama"], [baseline]) is None
    assert calibration_of([judge], ["base-1a2b-test-0"]) is None
    assert calibration_of([judge, "gold:reviews"], [baseline]) is None


def test_length_alone_is_controlled_away():
    """A judge that likes length and nothing else: the longer model wins, but not once length is held equal."""
    rng = np.random.default_rng(0)
    delta = rng.normal(-400, 400, 4000)  # the model is longer
    preference = 1 + 1 / (1 + np.exp(2 * np.tanh(delta / delta.std(ddof=1))))
    result = length_controlled_win_rate(rows(4000, preference=preference, len_1=5000, len_2=5000 - delta), None)
    assert result.win_rate > 65
    assert result.lc_win_rate == pytest.approx(50, abs=0.1)
    assert result.w_length == pytest.approx(-2, abs=0.05)


KNOWN = "f0aa9c85c9cd3bffcb32c56162f8d5ce74e0ea2653298e41ebb9d70632ecb81e"


@pytest.mark.parametrize(
    ("frame", "arguments", "message"),
    [
        (rows(4), {"calibration": None}, "4 preferences"),
        (rows(6, preference=[1.2, 1.3, np.nan, np.nan, 1.4, 1.5]), {"calibration": None}, "4 preferences"),
        (rows(60, preference=2.5), {"calibration": None}, "outside 1"),
        (rows(60, len_1=10, len_2=30), {"calibration": None}, r"\+20 characters"),
        (rows(60, len_1=-1), {"calibration": None}, "missing or negative"),
        (rows(60, len_2=np.nan), {"calibration": None}, "missing or negative"),
        (rows(60, preference="good"), {"calibration": None}, "not a number"),
        (rows(60), {}, "no column 'sha256'"),
        (rows(6, sha256="0" * 64), {}, "6 of 6 instructions are not among"),
        (rows(6, sha256=KNOWN), {}, "is there twice"),
        (rows(806), {"join": "row"}, "806 rows"),
        (rows(60), {"join": "index"}, "join='index'"),
        (rows(60), {"calibration": "no-such-file.csv", "join": "row"}, "no calibration file"),
    ],
)
def test_what_cannot_be_answered_is_said_in_one_line(frame, arguments, message):
    with pytest.raises(ReportError, match=message) as caught:
        length_controlled_win_rate(frame, **arguments)
    assert "\n" not in str(caught.value)
