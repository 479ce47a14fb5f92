"""The uncalibrated length-controlled rate, measured for statistics.py: near 0 and 100%, and in other orders of rows.

"rates": a model that is longer, a judge that likes length, prompts of unequal difficulty; preferences are wins and
losses or graded. The truth is the same statistic on 500,000 prompts. "orders": recorded rows of 37 models, shuffled.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import brentq

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reports import bootstrap, glm, length_control
from reports.errors import ReportError
from reports.length_only import LengthOnly

ANNOTATIONS = Path(__file__).resolve().parents[1] / "tests" / "data" / "alpaca_eval_annotations.parquet"


def limit(rows: pd.DataFrame) -> float:
    """The length-controlled rate of very many rows, where no penalty matters any more."""
    data = length_control._prepare(rows, None, "row")
    return float(LengthOnly(data.preference, data.delta).win_rates(np.ones((1, len(rows))))[0])


def rated(rng: np.random.Generator, n: int, quality: float, graded: bool) -> pd.DataFrame:
    base = rng.lognormal(6, 0.4, n).round()
    length = (base * rng.lognormal(0.3, 0.3, n)).round()
    logit = quality - 0.6 * rng.normal(0, 1, n) + 0.8 * np.log(length / base) + rng.logistic(0, 0.8 if graded else 1, n)
    preference = 1 + (1 / (1 + np.exp(-logit)) if graded else (logit > 0).astype(float))
    return pd.DataFrame({"preference": preference, "len_1": base, "len_2": length})


def quality_of(rate: float, graded: bool) -> float:
    """The quality at which the true length-controlled rate is `rate` percent."""
    return brentq(lambda q: limit(rated(np.random.default_rng(98), 50_000, q, graded)) - rate, -12, 12, xtol=1e-2)


def rate_once(job: tuple[int, int, float, bool]) -> tuple[bootstrap.Interval | None, bootstrap.Interval]:
    """The length-controlled rate, None where it is refused, and the plain one."""
    n, seed, quality, graded = job
    rng, resamples = np.random.default_rng([13, n, seed]), bootstrap.Resamples(n, seed=seed)
    rows = rated(rng, n, quality, graded)
    plain = resamples.mean(100 * (rows["preference"] - 1), (0.0, 100.0)).interval()
    try:
        return length_control.length_controlled_draws(rows, resamples, calibration=None)[1].interval(), plain
    except ReportError:
        return None, plain


def rates(n: int, graded: bool, targets: list[float], simulate: Callable, sets: int) -> None:
    for target in targets:
        quality = quality_of(target, graded)
        big = rated(np.random.default_rng(99), 500_000, quality, graded)
        true, true_plain = limit(big), 100 * (big["preference"].mean() - 1)
        found = simulate(rate_once, [(n, seed, quality, graded) for seed in range(sets)])
        given = [lc for lc, _ in found if lc]
        print(f"rates     n={n:4} {'graded' if graded else 'wins  '} LC {true:5.1f}%: ", end="")
        if given:
            inside = [i.low <= true <= i.high for i in given]
            share, wrong = 100 * len(given) / len(found), 100 * (len(given) - sum(inside)) / len(found)
            print(f"given in {share:3.0f}%, mean {np.mean([i.mean for i in given]):5.2f}, ", end="")
            print(f"covers {100 * np.mean(inside):5.1f}%, wrong in {wrong:4.1f}% of all; ", end="")
        inside = [i.low <= true_plain <= i.high for _, i in found]
        print(f"plain {true_plain:5.1f}% covers {100 * np.mean(inside):5.1f}% of {len(found)}", flush=True)


def orders(n: int) -> None:
    """How far AlpacaEval's rate and ours move over four orders of the rows of a recorded model."""
    rng, theirs, ours, apart = np.random.default_rng(0), [], [], []
    for _, rows in pd.read_parquet(ANNOTATIONS).groupby("model", observed=True):
        rows = rows.dropna(subset="preference")
        rows = rows.iloc[rng.permutation(len(rows))[:n]]
        pairs = [both(rows.iloc[rng.permutation(len(rows))]) for _ in range(4)]
        if None not in pairs:
            minimal, own = np.transpose(pairs)
            theirs.append(np.ptp(minimal))
            ours.append(np.ptp(own))
            apart.append(abs(minimal[0] - own[0]))
    print(f"orders    n={n:4} four orders of {len(ours)} models: AlpacaEval's folds move the rate by median ", end="")
    print(f"{np.median(theirs):.2f}, at most {max(theirs):.2f} points, ours by at most {max(ours):.0e}; ", end="")
    print(f"the two differ by median {np.median(apart):.2f}, at most {max(apart):.2f}", flush=True)


def both(rows: pd.DataFrame) -> tuple[float, float] | None:
    """`length_controlled_minimal` as AlpacaEval fits it, and ours; None where ours is refused."""
    try:
        ours = length_control.length_controlled_win_rate(rows, None).lc_win_rate
    except ReportError:
        return None
    data = length_control._prepare(rows, None, "row")
    length = glm.standardised(data.delta, data.delta.std(ddof=1))
    features = np.stack([length, np.ones(len(length))], 1)
    weights = glm.cross_validated(features, data.preference, np.ones(len(length)))[0]
    return float(100 / (1 + np.exp(-weights[1]))), ours
