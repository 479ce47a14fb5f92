"""Measure the statistics by simulation: coverage of the intervals, error rates of the gate, speed of the fits.

    OMP_NUM_THREADS=1 python benchmarks/statistics.py [--sets 2000] [--minutes 60] [--only coverage rates gate skew …]

Coverage: how often a 95% interval holds the truth. Rewards are skewed (exponential prompt effects, two seeds);
preferences come from a Bradley-Terry judge with a length bias on prompts of unequal difficulty; the truth is the same
statistic on 500,000 prompts. "AlpacaEval" draws prompts with replacement from the recorded rows of two real models,
the truth being the figure on all of them. "rates" and "orders" are in length_control_rates.py. The gate watches
8 settings × 3 metrics that share their prompts; "skew" holds 12 independent rows at their tolerance, with losses of
several shapes.
"""

import argparse
import sys
import time
import warnings
from multiprocessing import get_context
from pathlib import Path

import length_control_rates
import numpy as np
import pandas as pd
import sklearn
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reports import bootstrap, length_control
from reports.gate import critical
from reports.gate import statistics as gate

DATA = Path(__file__).resolve().parents[1] / "tests" / "data"


def rewards(rng: np.random.Generator, n: int) -> np.ndarray:
    """[n, 2] with mean 1: a skewed prompt effect and noise per seed."""
    return rng.exponential(1.0, n)[:, None] + rng.normal(0, 0.7, (n, 2))


SKEWED = {  # one seed: (draw, its mean)
    "exponential": (lambda rng, n: rng.exponential(1, n), 1.0),
    "lognormal": (lambda rng, n: rng.lognormal(0, 1, n), np.exp(0.5)),
    "t3": (lambda rng, n: rng.standard_t(3, n), 0.0),
    "wins of 3%": (lambda rng, n: (rng.random(n) < 0.03).astype(float), 0.03),
    "wins of 10%": (lambda rng, n: (rng.random(n) < 0.1).astype(float), 0.1),
}


def judged(rng: np.random.Generator, n: int, seeds: int = 2) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two settings' judgements on the same prompts: one better, the other longer."""
    hard = np.repeat(rng.normal(0, 1, n), seeds)
    base = np.repeat(rng.lognormal(6, 0.4, n), seeds).round()
    settings = []
    for quality, longer in ((0.5, 0.1), (0.2, 0.4)):
        length = (base * rng.lognormal(longer, 0.3, n * seeds)).round()
        logit = quality - 0.6 * hard + 0.8 * np.log(length / base) + rng.logistic(0, 0.8, n * seeds)
        preference = 1 + 1 / (1 + np.exp(-logit))
        columns = {"preference": preference, "len_1": base, "len_2": length, "prompt": np.repeat(np.arange(n), seeds)}
        settings.append(pd.DataFrame(columns))
    return settings[0], settings[1]


def recorded() -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = pd.read_parquet(DATA / "alpaca_eval_annotations.parquet")
    return tuple(rows[rows["model"] == model].sort_values("index") for model in ("claude-2", "vicuna-7b-v1.5"))


def draw(rows: pd.DataFrame, places: np.ndarray):
    """The rows at `places`, some several times: what `length_controlled_win_rate` itself refuses."""
    data = length_control._prepare(rows, "alpaca_eval", "row")
    picked = (data.preference[places], data.delta[places], data.difficulty[places], np.arange(len(places)), data.gamed)
    return length_control._Data(*picked)


def lc_draws(data, resamples):
    result, refit = length_control._fit(data)
    assert refit is not None
    draws = resamples.statistic(refit.win_rates)
    shift = result.lc_win_rate - draws.point
    return bootstrap.Draws(result.lc_win_rate, draws.boot + shift, draws.jack + shift, draws.n)


def once(job: tuple[str, int, int]) -> bootstrap.Interval:
    kind, n, seed = job
    rng, resamples = np.random.default_rng([7, n, seed]), bootstrap.Resamples(n, seed=seed)
    if kind == "mean reward":
        return bootstrap.estimate(rewards(rng, n), resamples)
    if kind in SKEWED:
        bounds = (0.0, 1.0) if kind.startswith("wins") else None
        return resamples.mean(SKEWED[kind][0](rng, n), bounds).interval()
    if kind == "mean reward, normal":
        return bootstrap.estimate(rng.normal(1, 1, n), resamples)
    if kind == "AlpacaEval LC difference":
        places = rng.integers(0, 805, n)
        first, second = (lc_draws(draw(rows, places), resamples) for rows in recorded())
        return (first - second).difference()
    first, second = judged(rng, n)
    if kind == "win rate":
        return bootstrap.estimate(first["preference"].to_numpy().reshape(n, -1) - 1, resamples)
    pair = [length_control.length_controlled_draws(rows, resamples, calibration=None)[1] for rows in (first, second)]
    return (pair[0] - pair[1]).difference()


def truth(kind: str) -> float:
    if kind.startswith("mean reward"):
        return 1.0
    if kind in SKEWED:
        return SKEWED[kind][1]
    if kind == "AlpacaEval LC difference":
        first, second = (length_control._fit(draw(rows, np.arange(805)))[1] for rows in recorded())
        return float(first.win_rates(np.ones((1, 805)))[0] - second.win_rates(np.ones((1, 805)))[0])
    first, second = judged(np.random.default_rng(99), 500_000, seeds=1)
    if kind == "win rate":
        return float(first["preference"].mean() - 1)
    return length_control_rates.limit(first) - length_control_rates.limit(second)


def simulate(function, jobs: list, args: argparse.Namespace) -> list:
    """The results of the jobs, as many as are done within the time allowed; the figures name how many those are."""
    end, results = time.perf_counter() + 60 * args.minutes, []
    with get_context("spawn").Pool(args.processes) as pool:
        for result in pool.imap(function, jobs, chunksize=5):
            results.append(result)
            if time.perf_counter() > end:
                break
    return results


def coverage(kind: str, n: int, args: argparse.Namespace) -> None:
    true, start = truth(kind), time.perf_counter()
    jobs = [(kind, n, seed) for seed in range(args.sets)]
    found = simulate(once, jobs, args)
    low, high = np.array([i.low for i in found]), np.array([i.high for i in found])
    inside, width = np.mean((low <= true) & (true <= high)), np.mean(high - low)
    bias = np.mean([i.mean for i in found]) - true
    tails = f"misses {100 * np.mean(true < low):.1f}% below, {100 * np.mean(true > high):.1f}% above"
    seconds = time.perf_counter() - start
    print(
        f"coverage  {kind:26} n={n:4}  {100 * inside:5.1f}% of {len(found)}  ({tails}; mean width {width:.3f}, ", end=""
    )
    print(f"bias {bias:+.4f}; {seconds:.0f} s)", flush=True)


def gate_figures(rng: np.random.Generator, n: int, effects: np.ndarray) -> dict:
    """One side of a gate: 8 settings × 3 metrics (a skewed reward, a win rate, a rare event) on shared prompts."""
    settings = {}
    for s in range(8):
        reward = effects[:, 0] + rng.exponential(1, n) + rng.normal(0, 0.5, n)
        win = 1 / (1 + np.exp(-effects[:, 1] - rng.logistic(0, 1, n)))
        settings[f"s{s}"] = {"reward": reward, "win": win, "broken": (rng.random(n) < 0.05).astype(float)}
    return {"task": "t", "judge": "j", "seeds": [0], "prompts": [str(i) for i in range(n)], "settings": settings}


def gate_once(job: tuple[int, int, float]) -> tuple[str, str, str]:
    """Verdicts on nothing changed, on a loss at the tolerance in every row, on twice one row's detectable loss."""
    n, seed, tolerance = job
    rng = np.random.default_rng([11, n, seed])
    directions = {"reward": "higher", "win": "higher", "broken": "lower"}
    metrics = [gate.Metric(name, tolerance, direction) for name, direction in directions.items()]
    effects = rng.normal(0, 1, (n, 2))
    baseline, run, worse = (gate_figures(rng, n, effects) for _ in range(3))
    unchanged = gate.compare(run, baseline, metrics)
    for figures in run["settings"].values():
        for name, direction in directions.items():
            figures[name] = figures[name] - tolerance * (1 if direction == "higher" else -1)
    at_limit = gate.compare(run, baseline, metrics)
    stated = row_of(unchanged).detectable
    worse["settings"]["s3"]["reward"] = worse["settings"]["s3"]["reward"] - 2 * stated
    return unchanged.verdict, at_limit.verdict, row_of(gate.compare(worse, baseline, metrics)).verdict


def row_of(result: gate.GateResult) -> gate.GateRow:
    return next(row for row in result.rows if (row.setting, row.metric) == ("s3", "reward"))


def gate_errors(n: int, tolerance: float, args: argparse.Namespace) -> None:
    results = simulate(gate_once, [(n, seed, tolerance) for seed in range(args.sets)], args)
    unchanged, limit, found = (100 * np.mean([r[i] == "regression" for r in results]) for i in range(3))
    passed = 100 * np.mean([r[0] == "pass" for r in results])
    print(f"gate      n={n:4} tolerance {tolerance:.2f}: unchanged run called a regression {unchanged:.1f}%", end=" ")
    print(f"(pass {passed:.1f}%), loss at the tolerance in all rows {limit:.1f}%,", end=" ")
    print(f"twice the detectable loss found {found:.1f}% of {len(results)}", flush=True)


# Losses of mean 0 and their spread: most prompts lose a little where few gain much, and the other way round.
SHAPES = {
    "normal": (lambda rng, size: rng.normal(0, 1, size), 1.0),
    "t with 3 degrees": (lambda rng, size: rng.standard_t(3, size), 3**0.5),
    "exponential gains": (lambda rng, size: 1 - rng.exponential(1, size), 1.0),
    "lognormal gains": (lambda rng, size: np.exp(0.5) - rng.lognormal(0, 1, size), np.sqrt((np.e - 1) * np.e)),
    "5% gain 10": (lambda rng, size: 0.5 - 10 * (rng.random(size) < 0.05), 10 * (0.05 * 0.95) ** 0.5),
    "5% gain 10 ± 2": (lambda rng, size: 0.5 - rng.normal(10, 2, size) * (rng.random(size) < 0.05), 2.22),
    "exponential losses": (lambda rng, size: rng.exponential(1, size) - 1, 1.0),
    "5% lose 10": (lambda rng, size: 10 * (rng.random(size) < 0.05) - 0.5, 10 * (0.05 * 0.95) ** 0.5),
}


def skewed_once(job: tuple[str, int, int]) -> list[bool]:
    """Twelve independent rows at their tolerance: is one called a regression by the gate, by its sign flips alone; does
    the first pass; and is it found by the gate, and by the flips, once it loses five standard errors more?"""
    shape, n, seed = job
    draw, spread = SHAPES[shape]
    loss = draw(np.random.default_rng([13, n, seed]), (n, 12))
    verdicts = []
    for extra in (0.0, 5 * spread / np.sqrt(n)):
        loss[:, 0] += extra
        mean, error = loss.mean(0), loss.std(0, ddof=1) / np.sqrt(n)
        over = mean > critical.critical_values(loss) * error, mean > critical.sign_flips(loss, np.full(12, n)) * error
        verdicts += [one[0] if extra else one.any() for one in over]
        if not extra:
            verdicts += [mean[0] + critical.upper_quantile(loss[:, 0], gate.LEVEL) * error[0] <= 0]
            verdicts += [mean[0] + stats.t.ppf(1 - gate.LEVEL, n - 1) * error[0] <= 0]
    return [bool(verdict) for verdict in verdicts]


def gate_skew(n: int, args: argparse.Namespace) -> None:
    for shape in SHAPES:
        results = np.array(simulate(skewed_once, [(shape, n, seed) for seed in range(args.sets)], args))
        alarm, flips, passed, by_t, found, by_flips = 100 * results.mean(0)
        print(f"skew      n={n:4} {shape:18} 12 rows at the tolerance called a regression {alarm:4.1f}%", end=" ")
        print(f"(sign flips alone {flips:4.1f}%), one passed {passed:4.1f}% (Student {by_t:4.1f}%),", end=" ")
        print(f"5 errors beyond found {found:5.1f}% (flips {by_flips:5.1f}%) of {len(results)}", flush=True)


def speed() -> None:
    rows, resamples = recorded()[0], bootstrap.Resamples(805)
    counts, data = resamples.weights, length_control._prepare(rows, "alpaca_eval", "row")
    refit = length_control._fit(data)[1]

    def tell(what: str, function) -> None:
        print(f"speed     {what:48} {best(function):9.2f} ms", flush=True)

    tell(
        "point estimate (cross-validated liblinear)",
        lambda: length_control.length_controlled_win_rate(rows, join="row"),
    )
    tell("alpaca_eval's own fit of the same rows", alpaca_eval_fit(data))
    tell("one fast refit", lambda: refit.win_rates(np.ones((1, 805))))
    tell("1,000 fast refits", lambda: refit.win_rates(counts))
    start = time.perf_counter()
    whole_report()
    print(f"speed     40 settings × 805 prompts × 1,000 resamples {time.perf_counter() - start:11.1f} s", flush=True)


def alpaca_eval_fit(data):
    """AlpacaEval's fit on its own frame of features, as a function to time."""
    from alpaca_eval.metrics.glm_winrate import fit_LogisticRegressionCV

    ones, gamed = np.ones(805), data.gamed
    ours = np.stack([np.tanh(data.delta / data.delta.std(ddof=1)), data.difficulty, ones, data.preference], 1)
    theirs = np.stack([np.tanh(gamed.delta), gamed.difficulty, 0 * gamed.delta, gamed.preference], 1)
    frame = pd.DataFrame(np.concatenate([theirs, ours]), columns=["length", "difficulty", "quality", "preference"])
    weight = pd.Series(np.concatenate([np.full(1610, 0.1), ones]))

    def fit():
        with warnings.catch_warnings(), sklearn.config_context():
            warnings.simplefilter("ignore")
            fit_LogisticRegressionCV(frame, "preference", sample_weight=weight)

    return fit


def best(function, times: int = 5) -> float:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        taken.append(1000 * (time.perf_counter() - start))
    return min(taken)


def whole_report() -> None:
    """Means, win rates, ratios, refitted length-controlled rates and differences to the best, for 40 settings."""
    rows = pd.read_parquet(DATA / "alpaca_eval_annotations.parquet")
    models = [m for _, m in rows.groupby("model", observed=True) if len(m) == 805]
    resamples, rng = bootstrap.Resamples(805), np.random.default_rng(0)
    draws = []
    for i in range(40):
        model, values = models[i % len(models)], rewards(rng, 805)
        bootstrap.estimate(values, resamples), bootstrap.difference(values, values + 1, resamples)
        bootstrap.estimate(model["preference"] - 1, resamples)
        bootstrap.ratio(model["len_2"] + 1, model["len_1"], resamples)
        draws.append(length_control.length_controlled_draws(model, resamples, join="row")[1])
    top = max(draws, key=lambda d: d.point)
    [d.interval() for d in draws], [(top - d).difference() for d in draws]


KINDS = [*SKEWED, "mean reward, normal", "mean reward", "win rate", "LC difference", "AlpacaEval LC difference"]
PARTS = ["coverage", "rates", "orders", "gate", "skew", "speed"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=2000, help="simulated data sets per figure")
    parser.add_argument("--only", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS, help="which coverages")
    parser.add_argument("--n", nargs="+", type=int, default=[64, 128, 805], help="prompts")
    parser.add_argument("--rates", nargs="+", type=float, default=[1, 3, 10, 30, 50, 70, 90, 97, 99], help="in percent")
    parser.add_argument("--minutes", type=float, default=60, help="stop a figure after this long, with fewer data sets")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    if "speed" in args.only:
        speed()
    if "orders" in args.only:
        for n in args.n:
            length_control_rates.orders(n)
    if "rates" in args.only:
        for graded in (False, True):
            for n in args.n:
                length_control_rates.rates(n, graded, args.rates, lambda f, jobs: simulate(f, jobs, args), args.sets)
    if "gate" in args.only:
        for n in args.n:
            for tolerance in (0.0, 0.1):
                gate_errors(n, tolerance, args)
    if "skew" in args.only:
        for n in args.n:
            gate_skew(n, args)
    if "coverage" in args.only:
        for kind in args.kinds:
            # AlpacaEval's gamed baselines weigh against all 805 instructions: a smaller n is another estimand.
            for n in args.n if kind != "AlpacaEval LC difference" else [805]:
                coverage(kind, n, args)


if __name__ == "__main__":
    main()
