"""A run's figures for the gate: per setting, metric and prompt, under names that hold on every machine."""

from typing import TYPE_CHECKING

from harness.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from reports.run import Run

CONTENT = "sha256:"


def run_figures(run: "Run", split: str | None = None) -> tuple[dict, dict[str, str]]:
    """What ``reports.gate.statistics`` compares and records of a run, and the hashes of what it was made with.

    A setting is named by its method and axes, as in ``ivg weight=1 width=4``: its id holds the hashes of the models,
    and models that are trained on the spot differ by rounding from machine to machine. A prompt's figure is the mean
    over its seeds. Besides the task's own scores there are ``win_rate`` (percent, the base against itself is 50),
    ``kl`` (nats, `reports.divergence.of_records`), ``forward_passes``, ``n_tokens`` and ``length`` (characters); no
    times, which depend on the machine.

    Args:
        run: as ``reports.run.load_run`` reads it.
        split: "dev", "test" or "all"; None: the one that the report reports.

    Returns:
        ``{"task", "judge", "seeds", "prompts", "settings": {name: {metric: [per prompt, None = missing]}}}``, and
        ``{"METHOD.PLACE": revision}`` of every model. A figure that one of a prompt's seeds lacks is missing.

    Raises:
        UserError: no such split, records or scores that are missing, a figure that is infinite, settings with unequal
            seeds, several judges or tasks, two settings of one name.
    """
    split = split or run.splits[-1]
    if split not in run.splits:
        raise UserError(f"split={split}: the run {run.name} has none; it has {', '.join(run.splits)}")
    _refuse_incomplete(run, split)
    rows = run.records[run.records["split"] == split]
    trials = [trial for trial in run.trials["trial"] if trial["split"] == split]
    prompts = rows.drop_duplicates("key").sort_values(["index", "key"])["key"].tolist()
    judges = sorted(set(rows["judge"].dropna())) if "judge" in rows else []
    names = setting_names(trials)
    seeds = _seeds(trials, names)
    measured = _measured(rows, run.metrics, bool(judges))
    settings = {}
    for setting, part in measured.groupby(rows["setting"]):
        by_prompt = part.groupby("key")
        means = by_prompt.mean().where(by_prompt.count() == len(seeds)).reindex(prompts)
        settings[names[setting]] = {
            metric: [None if value != value else float(value) for value in column]
            for metric, column in means.items()
            if column.notna().any()
        }
    figures = {
        "task": _one({_task(trial) for trial in trials}, "tasks"),
        "judge": _one(set(judges), "judges") if judges else "none",
        "seeds": seeds,
        "prompts": prompts,
        "settings": dict(sorted(settings.items())),
    }
    return figures, _revisions(trials)


def _measured(rows: "pd.DataFrame", metrics: list[str], judged: bool) -> "pd.DataFrame":
    """One row per record: its key and figures."""
    from reports.divergence import of_records

    measured = rows[["key", *dict.fromkeys([*metrics, "forward_passes", "n_tokens", "length"])]].copy()
    measured["kl"] = of_records(rows)
    if judged:
        preference = rows["preference"].mask((rows["method"] == "base") & rows["preference"].isna(), 1.5)
        measured["win_rate"] = 100 * (preference - 1)
    return measured


def _refuse_incomplete(run: "Run", split: str) -> None:
    """Raises UserError where a record, a score or a figure is missing or no finite number. A judge may miss a few; a
    decoder may not, nor the task's own scorer."""
    for one in run.missing:
        if one.split == split and one.what != "judgement":
            raise UserError(
                f"run={run.name}: {one.counted} of {one.trial} missing or no finite number (first: prompt "
                f"{one.keys[0]}); run the sweep again, it does what is missing"
            )


def _seeds(trials: list[dict], names: dict[str, str]) -> list[int]:
    """The seeds, which every setting must have: a mean over fewer would be compared with a mean over more."""
    every = {trial["seed"] for trial in trials}
    for setting, name in names.items():
        lost = every - {trial["seed"] for trial in trials if trial["setting"] == setting}
        if lost:
            raise UserError(f"run: {name!r} lacks seed {min(lost)}, which other settings have; run the sweep again")
    return sorted(every)


def setting_names(trials: list[dict]) -> dict[str, str]:
    """Setting id -> its name: the method and its axes.

    Raises:
        UserError: two settings of one name.
    """
    names: dict[str, str] = {}
    for trial in trials:
        axes = [
            f"{axis}={value:g}" if isinstance(value, float) else f"{axis}={value}"
            for axis, value in sorted((trial.get("settings") or {}).items())
        ]
        names[trial["setting"]] = " ".join([trial["method"], *axes])
    for name in names.values():
        if list(names.values()).count(name) > 1:
            raise UserError(f"run: two settings are called {name!r}; give the guiders different file names")
    return names


def _task(trial: dict) -> str:
    """A task by name and, where its files are known, by their hash: another scorer makes another task."""
    revision = trial.get("task_files") or (trial.get("revisions") or {}).get("task", "")
    return f"{trial['task']}@{revision}" if revision.startswith(CONTENT) else str(trial["task"])


def _one(found: set[str], what: str) -> str:
    if len(found) != 1:
        raise UserError(f"run: several {what} ({', '.join(sorted(found))}); gate a run that has one")
    return found.pop()


def _revisions(trials: list[dict]) -> dict[str, str]:
    return {
        f"{trial['method']}.{place}": str(revision)
        for trial in trials
        for place, revision in (trial.get("revisions") or {}).items()
        if place != "task"
    }
