"""Choosing each method's setting on the dev prompts."""

import math
from collections.abc import Sequence
from statistics import fmean

import pandas as pd

from harness.config.nearest import nearest
from harness.errors import UserError
from harness.records.run_folder import RunFolder
from harness.trials.trial import BASE, Setting, Trial
from reports.direction import Directions
from reports.divergence import of_records
from reports.guard import Guard
from reports.weights import self_normalised

# What a guard can bound besides the task's scores: ratios of sums over the records, and means over them.
RATIOS = {"forward_passes_per_token": ("forward_passes", "n_tokens"), "tokens_per_second": ("n_tokens", "seconds")}
MEASURED = ("kl", "length", *RATIOS)


def best_settings(
    run: RunFolder,
    trials: list[tuple[Setting, list[Trial]]],
    metric: str,
    directions: Directions,
    guards: Sequence[Guard] = (),
) -> list[Setting]:
    """The setting of each method with the best mean score over its dev trials; the first one of equals.

    A method none of whose settings keeps the guards has no setting here. The base is what the others are compared with:
    no guard holds for it.

    Args:
        trials: every setting with its dev trials, in the order of the grid.
        directions: which way of the score is better.
        guards: bounds on a setting's means over its dev trials.

    Raises:
        UserError: the task gives no such score, or one that is no finite number.
    """
    sign, best = directions.sign(metric), dict[str, tuple[float, Setting]]()
    for setting, dev in trials:
        merit = sign * dev_mean(run, dev, metric, f"select.metric={metric}")
        if setting.method != BASE and not all(guard.holds(_guarded(run, dev, guard)) for guard in guards):
            continue
        if setting.method not in best or merit > best[setting.method][0]:
            best[setting.method] = (merit, setting)
    return [setting for _, setting in best.values()]


def dev_mean(run: RunFolder, trials: list[Trial], metric: str, asked: str, more: Sequence[str] = ()) -> float:
    """The mean of a score over the prompts of some trials, by their answers' weights where these have any.

    Args:
        asked: the option that named the score, for an error; `more`: what it could have named besides a score.
    """
    values: dict[str, list[float]] = {}  # prompt -> its figure and log-weight of each trial
    weights: dict[str, list[float]] = {}
    for trial in trials:
        records = run.rows(run.records(trial.id))
        for key, row in run.rows(run.scores(trial.id), last=True).items():
            if metric not in row["scores"] and not values:
                mend = nearest(metric, [*row["scores"], *more])
                raise UserError(f"{asked}: the task {trial.task} gives no such score; {mend}")
            values.setdefault(key, []).append(_finite(row["scores"].get(metric), asked, run, trial, key))
            weights.setdefault(key, []).append(records.get(key, {}).get("log_weight", 0.0))
    if any(map(any, weights.values())):  # self-normalised over a prompt's seeds, as the report does
        return fmean(fmean(self_normalised([values[key]], [weights[key]])[0]) for key in values)
    return fmean(value for of_prompt in values.values() for value in of_prompt)


def _guarded(run: RunFolder, trials: list[Trial], guard: Guard) -> float:
    """The mean of a bounded figure over the prompts of some trials."""
    asked = f"select.guard={guard}"
    if guard.name not in MEASURED:
        return dev_mean(run, trials, guard.name, asked, MEASURED)
    records = [(trial, key, row) for trial in trials for key, row in run.rows(run.records(trial.id)).items()]
    if guard.name in RATIOS:
        top, bottom = (sum(row[name] for *_, row in records) for name in RATIOS[guard.name])
        return top / bottom if bottom else math.inf
    if guard.name == "length":
        return fmean(len(row["response"]) for *_, row in records)
    kl = of_records(pd.DataFrame([row for *_, row in records], columns=["kl", "kl_search", "log_ratio"]).astype(float))
    found = zip(kl.tolist(), records, strict=True)
    return fmean(_finite(value, asked, run, trial, key) for value, (trial, key, _) in found)


def _finite(value: float | None, asked: str, run: RunFolder, trial: Trial, key: str) -> float:
    if value is None or not math.isfinite(value):
        shown = "missing" if value is None else value
        raise UserError(
            f"{asked}: it is {shown} for the prompt {key} in {run.scores(trial.id).path} (task {trial.task}): no "
            "setting is chosen by it; mend the metric, delete the file and run again"
        )
    return value
