"""The gate: has a run lost quality against a recorded baseline? Pass, regression or inconclusive.

Every (setting, metric) is one row: the paired loss per prompt, baseline against run, counted so that positive is worse.
- regression: the loss exceeds the tolerance, sure at 4% for the whole family of rows at once (`reports.gate.critical`).
- pass: every row's loss is below its tolerance at one-sided 95% (each row needs no correction: all must pass).
- inconclusive: neither; the rows say how many more prompts would probably decide.

What the baseline has and the run has not is an error, and so is a figure that is not finite: with the worst prompts
left out, any run would pass.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from reports.errors import ReportError
from reports.gate.critical import critical_values, upper_quantile

LEVEL = 0.05  # one-sided, of each pass
POWER = 0.80
FORMAT = 2
MOST_PROMPTS = 1_000_000  # a loss this close to its tolerance is not decided by more prompts
EXIT_CODES = {"pass": 0, "regression": 1, "inconclusive": 4}


@dataclass(frozen=True)
class Metric:
    """A figure to hold: `tolerance` is the loss that is accepted, in the metric's unit; `direction` is which way is
    better, "higher" or "lower"."""

    name: str
    tolerance: float = 0.0
    direction: str = "higher"

    def __post_init__(self) -> None:
        if self.direction not in ("higher", "lower"):
            raise ReportError(f'gate: direction {self.direction!r} of {self.name}; use "higher" or "lower"')
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise ReportError(f"gate: tolerance {self.tolerance} of {self.name}; give a number of at least 0")


@dataclass(frozen=True)
class GateRow:
    """One setting on one metric. `loss` is positive where the run is worse; `low` and `high` bound it (low: 96% over
    the family, high: 95% one-sided, infinite bounds are None). `detectable` is the loss that this many prompts call a
    regression with 80% probability; `more_prompts` is None where no number of prompts would help or none is needed."""

    setting: str
    metric: str
    baseline: float
    run: float
    loss: float
    low: float | None
    high: float | None
    tolerance: float
    detectable: float | None
    n: int
    verdict: str
    more_prompts: int | None = None


@dataclass(frozen=True)
class GateResult:
    """`verdict` of the whole and its `rows`; `new` names the settings that the baseline does not know."""

    verdict: str
    rows: tuple[GateRow, ...]
    new: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]

    @property
    def more_prompts(self) -> int | None:
        """Prompts to add so that every undecided row is probably decided; None where none are needed or would do."""
        needed = [row.more_prompts for row in self.rows if row.verdict == "inconclusive"]
        known = [number for number in needed if number is not None]
        return max(known) if known and len(known) == len(needed) else None


def record(figures: dict, hashes: dict[str, str] | None = None) -> dict:
    """A baseline to commit, JSON-able: per-prompt figures and hashes, no texts.

    `figures`: {"task", "judge", "seeds": [seeds], "prompts": [keys], "settings": {setting: {metric: [per prompt, None =
    missing]}}}. Figures keep 9 significant digits. Raises ReportError for a figure list that is not as long as the
    prompts, and for a figure that is not finite.
    """
    _check(figures, "run")
    settings = {
        str(setting): {
            str(name): [
                None if math.isnan(value) else float(f"{value:.9g}") for value in _column(figures, setting, name)
            ]
            for name in metrics
        }
        for setting, metrics in figures["settings"].items()
    }
    return {
        "format": FORMAT,
        "task": figures["task"],
        "judge": figures["judge"],
        "seeds": sorted(figures["seeds"]),
        "hashes": {str(name): str(value) for name, value in sorted((hashes or {}).items())},
        "prompts": list(figures["prompts"]),
        "settings": settings,
    }


def compare(run: dict, baseline: dict, metrics: list[Metric]) -> GateResult:
    """Gate `run` (figures as `record` takes them) against `baseline` (what `record` wrote).

    Raises ReportError where task, judge or prompts differ (it says which), and where the run lacks a seed, a setting, a
    metric or a single figure that the baseline has.
    """
    if isinstance(baseline, dict) and baseline.get("format", FORMAT) != FORMAT:
        raise ReportError(f"gate: baseline of format {baseline['format']!r}; record it again with this version")
    _check(run, "run")
    _check(baseline, "baseline")
    _refuse_different(run, baseline)
    if not metrics:
        raise ReportError("gate: no metrics; name at least one")
    missing = sorted(set(baseline["settings"]) - set(run["settings"]))
    if missing:
        raise ReportError(f"gate: the run lacks the baseline's setting {missing[0]!r}; run it, or record anew")
    seeds = sorted(set(baseline["seeds"]) - set(run["seeds"]))
    if seeds:
        raise ReportError(f"gate: the run lacks seed {seeds[0]}, which the baseline has; run it, or record anew")
    places = {key: place for place, key in enumerate(run["prompts"])}
    order = [places[key] for key in baseline["prompts"]]
    names, before, after = [], [], []
    for setting in sorted(baseline["settings"]):
        for metric in metrics:
            names.append((setting, metric))
            before.append(_column(baseline, setting, metric.name, "baseline"))
            after.append(_column(run, setting, metric.name)[order])
            _refuse_lost(setting, metric.name, baseline["prompts"], before[-1], after[-1])
    rows = _judge(names, np.array(before).T, np.array(after).T)
    verdicts = {row.verdict for row in rows}
    verdict = next(v for v in ("regression", "inconclusive", "pass") if v in verdicts)
    return GateResult(verdict, tuple(rows), tuple(sorted(set(run["settings"]) - set(baseline["settings"]))))


def _judge(names: list[tuple[str, Metric]], before: np.ndarray, after: np.ndarray) -> list[GateRow]:
    """Verdicts from the figures [prompts, rows] of both sides."""
    sign = np.array([1.0 if metric.direction == "higher" else -1.0 for _, metric in names])
    tolerance = np.array([metric.tolerance for _, metric in names])
    paired = np.isfinite(before) & np.isfinite(after)
    n = paired.sum(0)
    for (setting, metric), pairs in zip(names, n, strict=True):
        if pairs < 2:
            raise ReportError(f"gate: {pairs} prompts have {metric.name} of {setting!r} on both sides; it takes 2")
    loss = np.where(paired, sign * (np.where(paired, before, 0) - np.where(paired, after, 0)), 0.0)
    mean = loss.sum(0) / n
    error = np.sqrt((np.where(paired, loss - mean, 0.0) ** 2).sum(0) / (n - 1) / n)
    error = np.where(error <= 1e-12 * np.abs(mean), 0.0, error)
    critical = critical_values(loss - tolerance, paired)
    rows = []
    for i, (setting, metric) in enumerate(names):
        one_sided = upper_quantile(loss[paired[:, i], i], LEVEL)
        low, high = _bound(mean[i], -critical[i], error[i]), _bound(mean[i], one_sided, error[i])
        if low > tolerance[i] + 1e-12 * (1 + tolerance[i]):
            verdict = "regression"
        else:
            verdict = "pass" if high <= tolerance[i] + 1e-12 * (1 + tolerance[i]) else "inconclusive"
        reach = critical[i] + stats.norm.ppf(POWER)
        more = None
        if verdict == "inconclusive":
            quantile = reach if mean[i] > tolerance[i] else one_sided + stats.norm.ppf(POWER)
            more = _more_prompts(int(n[i]), abs(mean[i] - tolerance[i]), error[i], quantile)
        rows.append(
            GateRow(
                setting=setting,
                metric=metric.name,
                baseline=float(before[paired[:, i], i].mean()),
                run=float(after[paired[:, i], i].mean()),
                loss=float(mean[i]),
                low=_finite(low),
                high=_finite(high),
                tolerance=float(tolerance[i]),
                detectable=_finite(_bound(tolerance[i], reach, error[i])),
                n=int(n[i]),
                verdict=verdict,
                more_prompts=more,
            )
        )
    return rows


def _bound(centre: float, quantile: float, error: float) -> float:
    # An infinite quantile means that no certainty is to be had, even where the few prompts agree exactly.
    return centre + quantile * (error or 1.0) if error > 0 or (math.isinf(quantile) and centre != 0) else centre


def _more_prompts(n: int, margin: float, error: float, quantile: float) -> int | None:
    """Prompts to add until the margin between loss and tolerance is `quantile` standard errors, if the figures hold."""
    if margin <= 0 or not math.isfinite(quantile):
        return None
    needed = (quantile * error * math.sqrt(n) / margin) ** 2
    return max(1, math.ceil(needed) - n) if needed <= MOST_PROMPTS else None


def _check(figures: dict, side: str) -> None:
    absent = [
        key
        for key in ("task", "judge", "seeds", "prompts", "settings")
        if not isinstance(figures, dict) or key not in figures
    ]
    if absent:
        raise ReportError(f"gate: the {side} has no {absent[0]!r}; record it with this version")
    prompts = figures["prompts"]
    if len(prompts) < 2 or len(set(prompts)) != len(prompts):
        raise ReportError(f"gate: the {side} has fewer than 2 prompts or one twice; give every prompt once")
    if not figures["settings"]:
        raise ReportError(f"gate: the {side} has no settings; give at least one")
    for setting, metrics in figures["settings"].items():
        for name, values in metrics.items():
            if len(values) != len(prompts):
                raise ReportError(
                    f"gate: {len(values)} figures of {name} of {setting!r} in the {side}, but {len(prompts)} prompts; "
                    "give one per prompt"
                )


def _refuse_different(run: dict, baseline: dict) -> None:
    different = [
        f"{what} ({baseline[what]!r} in the baseline, {run[what]!r} in the run)"
        for what in ("task", "judge")
        if run[what] != baseline[what]
    ]
    lost = [key for key in baseline["prompts"] if key not in set(run["prompts"])]
    added = [key for key in run["prompts"] if key not in set(baseline["prompts"])]
    if lost or added:
        example = f"{lost[0]} is only in the baseline" if lost else f"{added[0]} is only in the run"
        different.append(f"prompts ({len(lost)} only in the baseline, {len(added)} only in the run; {example})")
    if different:
        raise ReportError(f"gate: different {'; '.join(different)}; record a baseline with the same ones")


def _refuse_lost(setting: str, metric: str, prompts: list[str], before: np.ndarray, after: np.ndarray) -> None:
    lost = np.flatnonzero(np.isfinite(before) & np.isnan(after))
    if len(lost):
        raise ReportError(
            f"gate: the run lacks {metric} of {setting!r} for {len(lost)} of {len(prompts)} prompts (first: "
            f"{prompts[lost[0]]}), for which the baseline has it; run the sweep again, it does what is missing"
        )


def _column(figures: dict, setting: str, metric: str, side: str = "run") -> np.ndarray:
    """[prompts] the figures, NaN where one is missing (None)."""
    try:
        values = figures["settings"][setting][metric]
        column = np.array([np.nan if value is None else value for value in values], float)
    except KeyError as error:
        raise ReportError(f"gate: no {metric!r} of {setting!r} in the {side}; mend the metrics of the gate") from error
    except (TypeError, ValueError) as error:
        raise ReportError(f"gate: {metric} of {setting!r} in the {side} holds no number; record it anew") from error
    for key, value, number in zip(figures["prompts"], values, column, strict=True):
        if value is not None and not math.isfinite(number):
            raise ReportError(
                f"gate: {metric} of {setting!r} in the {side} is {number} for prompt {key}; mend what scores it"
            )
    return column


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
