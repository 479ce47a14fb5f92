"""Choosing each method's setting on the dev prompts."""

import math
from statistics import fmean

from harness.errors import UserError
from harness.nearest import nearest
from harness.run_folder import RunFolder
from harness.trials import Setting, Trial


def best_settings(run: RunFolder, trials: list[tuple[Setting, list[Trial]]], metric: str) -> list[Setting]:
    """The setting of each method with the highest mean score over its dev trials; the first one of equals.

    Args:
        trials: every setting with its dev trials, in the order of the grid.

    Raises:
        UserError: the task gives no such score, or one is no finite number.
    """
    best: dict[str, tuple[float, Setting]] = {}
    for setting, dev in trials:
        mean = dev_mean(run, dev, metric)
        if setting.method not in best or mean > best[setting.method][0]:
            best[setting.method] = (mean, setting)
    return [setting for _, setting in best.values()]


def dev_mean(run: RunFolder, trials: list[Trial], metric: str) -> float:
    """The mean of a score over the prompts of some trials."""
    values: list[float] = []
    for trial in trials:
        for row in run.rows(run.scores(trial.id)).values():
            if metric not in row["scores"] and not values:
                mend = nearest(metric, row["scores"])
                raise UserError(f"select.metric={metric}: the task {trial.task} gives no such score; {mend}")
            value = row["scores"].get(metric)
            if not isinstance(value, int | float) or not math.isfinite(value):
                shown = "missing" if value is None else value
                where = f"{metric} of the prompt {row['key']} is {shown} in scores/{trial.id}.jsonl"
                raise UserError(f"{where}: no setting is chosen by it; mend the metric, delete the file and run again")
            values.append(value)
    return fmean(values)
