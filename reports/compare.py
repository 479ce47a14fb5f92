"""Several runs in one report: the same prompts, settings told apart by their run."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from reports.about import AboutRun
from reports.bootstrap import Difference
from reports.direction import Directions
from reports.errors import ReportError
from reports.family import holm
from reports.run import Run
from reports.setting import RecordedSetting
from reports.table import Table

SHOWN = 5


@dataclass(frozen=True)
class Change:
    """A figure of one setting in a later run minus the same setting's in the first run."""

    label: str
    split: str
    metric: str
    first: str
    later: str
    difference: Difference
    p_holm: float


def combine(runs: list[Run], common: bool = False) -> Run:
    """One run that holds them all; setting and trial ids get their run's name in front.

    Raises:
        ReportError: the runs share no split, their prompts differ and `common` is not asked for, or their tasks
            disagree about which way of a metric is better.
    """
    if len(runs) == 1:
        return runs[0]
    names = _names(runs)
    splits = [split for split in runs[0].splits if all(split in run.splits for run in runs)]
    if not splits:
        raise ReportError(f"{' and '.join(names)}: no split that all have; compare runs of the same task")
    shared = {split: set.intersection(*(run.keys(split) for run in runs)) for split in splits}
    if not common:
        _refuse_unequal(runs, names, shared)
    for split, keys in shared.items():
        if not keys:
            raise ReportError(f"{' and '.join(names)}: no {split} prompt in common; compare runs of the same task")
    records, trials, missing = [], [], []
    settings: dict[str, RecordedSetting] = {}
    metrics: dict[str, None] = {}
    for run, name in zip(runs, names, strict=True):
        kept = pd.concat([part[part["key"].isin(shared[s])] for s, part in run.records.groupby("split") if s in splits])
        records.append(_renamed(kept, name, ("setting", "trial")))
        trials.append(_renamed(run.trials[run.trials["split"].isin(splits)], name, ("setting", "id")))
        settings |= {
            f"{name}/{id}": dataclasses.replace(setting, id=f"{name}/{id}", run=name)
            for id, setting in run.settings.items()
        }
        missing += [
            dataclasses.replace(hole, trial=f"{name}/{hole.trial}", setting=f"{name}/{hole.setting}")
            for hole in run.missing
            if hole.split in splits
        ]
        metrics |= dict.fromkeys(run.metrics)
    return Run(
        name=" and ".join(names),
        path=runs[0].path,
        trials=pd.concat(trials, ignore_index=True),
        records=pd.concat(records, ignore_index=True),
        settings=settings,
        metrics=list(metrics),
        missing=missing,
        config="\n".join(f"# {name}\n{run.config}" for run, name in zip(runs, names, strict=True)),
        manifest={name: run.manifest for run, name in zip(runs, names, strict=True)},
        directions=_directions(runs, names),
        about=AboutRun.joined([run.about for run in runs]),
    )


def _directions(runs: list[Run], names: list[str]) -> Directions:
    said: dict[str, bool] = {}
    for run, name in zip(runs, names, strict=True):
        for metric, higher in run.directions.higher_is_better.items():
            if said.setdefault(metric, higher) != higher:
                way = "higher" if higher else "lower"
                raise ReportError(f"{name}: {metric} is better {way}, unlike in {names[0]}; compare runs of one task")
    return Directions(said, frozenset[str]().union(*(run.directions.noted for run in runs)))


def changes(table: Table, metrics: list[str], split: str) -> list[Change]:
    """Every setting that the first run and a later one have, later minus first, Holm over them all."""
    groups: dict[tuple, list] = {}
    for row in table.on(split):
        if row.setting.run:
            groups.setdefault((row.setting.method, repr(sorted(row.setting.axes.items()))), []).append(row)
    order = list(dict.fromkeys(setting.run for setting in table.run.settings.values()))
    found = []
    for rows in groups.values():
        rows = sorted(rows, key=lambda row: order.index(row.setting.run))
        first = rows[0]
        for later in rows[1:]:
            for metric in metrics:
                if first.figures.get(metric) and later.figures.get(metric):
                    gap = table.difference(later.setting.id, first.setting.id, split, metric)
                    label = dataclasses.replace(later.setting, run="").label
                    found.append((label, metric, first.setting.run, later.setting.run, gap))
    adjusted = holm([gap.p_value for *_, gap in found]).tolist() if found else []
    return [
        Change(label, split, metric, first, later, gap, float(p))
        for (label, metric, first, later, gap), p in zip(found, adjusted, strict=True)
    ]


def _refuse_unequal(runs: list[Run], names: list[str], shared: dict[str, set[str]]) -> None:
    union = {split: set.union(*(run.keys(split) for run in runs)) for split in shared}
    for split, keys in union.items():
        for run, name in zip(runs, names, strict=True):
            lacking = sorted(keys - run.keys(split))
            if lacking:
                shown = ", ".join(lacking[:SHOWN]) + (
                    f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
                )
                raise ReportError(
                    f"{name}: lacks {len(lacking)} {split} prompts that the other run has ({shown}); "
                    "finish the run, or set common=true to compare the prompts that both have"
                )


def _names(runs: list[Run]) -> list[str]:
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [str(Path(run.path.resolve().parent.name) / run.name) for run in runs]
    return names if len(set(names)) == len(names) else [f"{name} ({i})" for i, name in enumerate(names, 1)]


def _renamed(frame: pd.DataFrame, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    return frame.assign(**{column: name + "/" + frame[column].astype(str) for column in columns})
