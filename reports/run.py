"""A run's folder, read into frames: trials, records with their scores and judgements, and what is missing."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from reports import missing
from reports.about import AboutRun
from reports.direction import Directions
from reports.errors import ReportError
from reports.missing import Missing
from reports.rows import is_signed, read
from reports.setting import RecordedSetting

RECORD_FIELDS = {
    "prompt": "",
    "response": "",
    "n_tokens": 0,
    "finish_reason": None,
    "value": float("nan"),
    "kl": float("nan"),
    "kl_search": float("nan"),
    "log_ratio": float("nan"),
    "log_weight": float("nan"),
    "forward_passes": float("nan"),
    "computed_passes": float("nan"),
    "seconds": float("nan"),
    "index": -1,
    "trace": None,
}
FIGURES = tuple(name for name, default in RECORD_FIELDS.items() if default != default)  # those that may be absent
JUDGEMENT_FIELDS = ("preference", "len_1", "len_2", "judge", "baseline", "reason")
# Names that a task's metric may not take: columns of the records, and figures of the report.
OWN = {*RECORD_FIELDS, *JUDGEMENT_FIELDS, "trial", "key", "setting", "method", "split", "seed", "length", "win_rate",
       "lc_win_rate", "tokens_per_second", "forward_passes_per_token", "computed_passes_per_token",
       "distortion"}  # fmt: skip


@dataclass
class Run:
    """One run's folder.

    Attributes:
        name: the folder's name, made unique where several runs are compared.
        trials: one row per trial: id, setting, method, split, seed, task, selected, and the trial itself (``trial``).
        records: one row per trial and prompt: trial, setting, method, split, seed, key, the record's fields, the
            scores (the columns of ``metrics``), ``preference``, ``len_1``, ``len_2``, ``judge``, ``baseline`` and
            ``length`` in characters. What is missing, NaN or infinite is NaN.
        settings: setting id -> RecordedSetting.
        metrics: names of the scores, in the order they were met, and of what token guides note of their responses. A
            metric with the name of one of the report's own columns is ``task_NAME``, or left out where it repeats
            that column (``length`` in characters).
        missing: what the trials should hold and do not.
        directions: which way of each figure is better, as the task said when it was run.
        about: base model, date and judge's server.
        config, manifest: the composed configuration as text, the manifest as it was written ({} where there is none).
    """

    name: str
    path: Path
    trials: pd.DataFrame
    records: pd.DataFrame
    settings: dict[str, RecordedSetting]
    metrics: list[str]
    missing: list[Missing] = field(default_factory=list)
    config: str = ""
    manifest: dict = field(default_factory=dict)
    directions: Directions = field(default_factory=Directions)
    about: AboutRun = field(default_factory=AboutRun)

    @property
    def splits(self) -> list[str]:
        """The splits that hold records, the one to be reported last."""
        return [split for split in ("all", "dev", "test") if (self.records["split"] == split).any()]

    def keys(self, split: str) -> set[str]:
        """The prompts of a split that any trial has."""
        return set(self.records.loc[self.records["split"] == split, "key"])


def load_run(path: str | Path) -> Run:
    """Read a run's folder.

    The first complete record of a (trial, prompt) wins; a torn last line is dropped.

    Raises:
        ReportError: no such folder, no trials, no records, or a file that is damaged.
    """
    path = Path(path)
    if not path.is_dir():
        raise ReportError(f"{path}: no such run; give the folder that a sweep has written, for example runs/NAME")
    trials = [_json(file) for file in sorted((path / "trials").glob("*.json"))]
    if not trials:
        raise ReportError(f"{path}: holds no trials/*.json; run the sweep first, or give another folder")
    for trial in trials:
        for name in ("id", "setting", "method", "split", "seed"):
            if name not in trial:
                raise ReportError(f"{path}/trials: a trial without {name!r}; remove the file and run the sweep again")
    raw = {trial["id"]: _by_key(path / "records" / f"{trial['id']}.jsonl") for trial in trials}
    scores = {trial["id"]: _scores(path / "scores" / f"{trial['id']}.jsonl") for trial in trials}
    rows = [row for trial in trials for row in _trial_rows(path, trial, raw[trial["id"]])]
    if not rows:
        raise ReportError(f"{path}: no records yet; let the sweep finish its first trial")
    records = pd.DataFrame(rows)
    cost = ("value", "kl", "kl_search", "log_ratio", "log_weight", "forward_passes", "computed_passes", "seconds")
    for name in (*cost, "preference", "len_1", "len_2"):
        records[name] = pd.to_numeric(records[name], errors="coerce") if name in records else float("nan")
    records["length"] = records["response"].str.len().astype(float)
    metrics = _add_scores(records, {trial: _with_notes(raw[trial], scores[trial]) for trial in raw})
    noted = frozenset(metrics) - {name for one in scores.values() for given in one.values() for name in given}
    numbers = records.select_dtypes("number").columns
    records[numbers] = records[numbers].replace([math.inf, -math.inf], math.nan)
    frame = pd.DataFrame(
        {name: [trial.get(name) for trial in trials] for name in ("id", "setting", "method", "split", "seed", "task")}
    )
    frame["selected"] = [bool(trial.get("selected")) for trial in trials]
    frame["trial"] = trials
    settings = {trial["setting"]: RecordedSetting.of(trial) for trial in trials}
    config = path / "config.yaml"
    manifest = _json(path / "manifest.json") if (path / "manifest.json").exists() else {}
    said = manifest.get("higher_is_better")
    return Run(
        name=path.resolve().name,
        path=path,
        trials=frame,
        records=records,
        settings=settings,
        metrics=metrics,
        missing=missing.find(frame, records, raw, scores, FIGURES),
        config=config.read_text(encoding="utf-8") if config.exists() else "",
        manifest=manifest,
        directions=Directions(said if isinstance(said, dict) else {}, noted),
        about=AboutRun.of(trials, manifest),
    )


def _trial_rows(path: Path, trial: dict, records: dict[str, dict]) -> list[dict]:
    # the last judgement counts: one without a preference is asked for again
    judgements = _by_key(path / "judgements" / f"{trial['id']}.jsonl", last=True)
    rows = []
    for key, record in records.items():
        row = {name: record.get(name, default) for name, default in RECORD_FIELDS.items()}
        row.update(trial=trial["id"], key=key)
        row.update({name: trial[name] for name in ("setting", "method", "split", "seed")})
        judgement = judgements.get(key, {})
        row.update({name: judgement.get(name) for name in JUDGEMENT_FIELDS})
        rows.append(row)
    return rows


def _scores(path: Path) -> dict[str, dict]:
    """key -> {metric: score} of the prompts that were scored."""
    return {key: row["scores"] for key, row in _by_key(path, last=True).items() if isinstance(row.get("scores"), dict)}


def _with_notes(records: dict[str, dict], scores: dict[str, dict]) -> dict[str, dict]:
    """The scores of every prompt, and the notes of its record; a score of the same name goes before."""
    noted = {key: row["notes"] for key, row in records.items() if isinstance(row.get("notes"), dict)}
    return {key: {**noted.get(key, {}), **scores.get(key, {})} for key in {**scores, **noted}}


def _add_scores(records: pd.DataFrame, scores: dict[str, dict[str, dict]]) -> list[str]:
    """Add a column for every metric; their names (see `Run.metrics`)."""
    columns: dict[str, list[float]] = {}
    for place, (trial, key) in enumerate(zip(records["trial"], records["key"], strict=True)):
        for metric, value in scores[trial].get(key, {}).items():
            if isinstance(value, (int, float)):
                columns.setdefault(metric, [math.nan] * len(records))[place] = float(value)
    metrics = []
    for metric, column in columns.items():
        name, values = metric, pd.Series(column, records.index)
        while name in OWN or (name != metric and name in columns):
            name = f"task_{name}"
        if name != metric and metric in records and values.dropna().equals(records.loc[values.notna(), metric]):
            continue
        records[name] = values
        metrics.append(name)
    return metrics


def _by_key(path: Path, last: bool = False) -> dict[str, dict]:
    """key -> the first row with that key, or the last one."""
    rows: dict[str, dict] = {}
    for found in read(path, must_be_signed=is_signed(path.parents[1])):
        if found.fault or found.row is None:
            mend = "run the sweep again, which sets the row aside and makes it anew"
            raise ReportError(f"{path}:{found.number}: {found.fault}; {mend}")
        if last or found.row["key"] not in rows:
            rows[found.row["key"]] = found.row
    return rows


def _json(path: Path) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ReportError(f"{path}: not a JSON object; remove the file and run the sweep again")
    return value
