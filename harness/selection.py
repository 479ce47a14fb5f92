"""Choosing each method's setting on the dev prompts."""

import math
from collections.abc import Sequence
from statistics import fmean

from harness.errors import UserError
from harness.nearest import nearest
from harness.run_folder import RunFolder
from harness.trials import BASE, Setting, Trial
from reports.direction import Directions
from reports.guard import Guard

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
    """The mean of a score over the prompts of some trials.

    Args:
        asked: the option that named the score, for an error; `more`: what it could have named besides a score.
    """
    values = []
    for trial in trials:
        for key, row in run.rows(run.scores(trial.id)).items():
            if metric not in row["scores"]:
                mend = nearest(metric, [*row["scores"], *more])
                raise UserError(f"{asked}: the task {trial.task} gives no such score; {mend}")
            values.append(_finite(row["scores"][metric], asked, run, trial, key))
    return fmean(values)


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
    return fmean(_finite(_kl(row), asked, run, trial, key) for trial, key, row in records)


def _kl(record: dict) -> float | None:
    """The divergence of a record in nats: its token part (of a search the log-ratio) and the search's bound."""
    token = record["kl"] if record.get("log_ratio") is None else record["log_ratio"]
    parts = [part for part in (token, record["kl_search"]) if part is not None]
    return sum(parts) if parts else None


def _finite(value: float | None, asked: str, run: RunFolder, trial: Trial, key: str) -> float:
    if value is None or not math.isfinite(value):
        raise UserError(
            f"{asked}: it is {value} for prompt {key} of {trial.id} (task {trial.task}); mend the task's scores, "
            f"remove {run.scores(trial.id).path} and run again"
        )
    return value
