"""A run's folder, read into frames: trials, records with their scores and judgements, and what is missing."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from reports.errors import ReportError
from reports.setting import Setting

RECORD_FIELDS = {
    "prompt": "",
    "response": "",
    "n_tokens": 0,
    "finish_reason": None,
    "value": float("nan"),
    "kl": float("nan"),
    "kl_search": float("nan"),
    "forward_passes": float("nan"),
    "seconds": float("nan"),
    "index": -1,
    "trace": None,
}
JUDGEMENT_FIELDS = ("preference", "len_1", "len_2", "judge", "baseline", "reason")


@dataclass(frozen=True)
class Missing:
    """Rows that a trial should have and has not: ``what`` is "record", "score" or "judgement"."""

    trial: str
    setting: str
    split: str
    seed: int
    what: str
    keys: tuple[str, ...]


@dataclass
class Run:
    """One run's folder.

    Attributes:
        name: the folder's name, made unique where several runs are compared.
        trials: one row per trial: id, setting, method, split, seed, task, selected, and the trial itself (``trial``).
        records: one row per trial and prompt: trial, setting, method, split, seed, key, the record's fields, the
            scores (the columns of ``metrics``), ``preference``, ``len_1``, ``len_2``, ``judge``, ``baseline`` and
            ``length`` in characters.
        settings: setting id -> Setting.
        metrics: names of the scores, in the order they were met.
        missing: what the trials should hold and do not.
        config, manifest: the composed configuration as text, the manifest as it was written ({} where there is none).
    """

    name: str
    path: Path
    trials: pd.DataFrame
    records: pd.DataFrame
    settings: dict[str, Setting]
    metrics: list[str]
    missing: list[Missing] = field(default_factory=list)
    config: str = ""
    manifest: dict = field(default_factory=dict)

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
    rows, missing, metrics = [], [], {}
    for trial in trials:
        rows += _trial_rows(path, trial, metrics)
    if not rows:
        raise ReportError(f"{path}: no records yet; let the sweep finish its first trial")
    records = pd.DataFrame(rows)
    for name in (*metrics, "value", "kl", "kl_search", "forward_passes", "seconds", "preference", "len_1", "len_2"):
        records[name] = pd.to_numeric(records[name], errors="coerce") if name in records else float("nan")
    records["length"] = records["response"].str.len().astype(float)
    frame = pd.DataFrame(
        {name: [trial.get(name) for trial in trials] for name in ("id", "setting", "method", "split", "seed", "task")}
    )
    frame["selected"] = [bool(trial.get("selected")) for trial in trials]
    frame["trial"] = trials
    settings = {trial["setting"]: Setting.of(trial) for trial in trials}
    missing = _missing(frame, records, list(metrics))
    config = path / "config.yaml"
    manifest = path / "manifest.json"
    return Run(
        name=path.resolve().name,
        path=path,
        trials=frame,
        records=records,
        settings=settings,
        metrics=list(metrics),
        missing=missing,
        config=config.read_text(encoding="utf-8") if config.exists() else "",
        manifest=_json(manifest) if manifest.exists() else {},
    )


def _trial_rows(path: Path, trial: dict, metrics: dict[str, None]) -> list[dict]:
    name = f"{trial['id']}.jsonl"
    scores = _by_key(path / "scores" / name)
    judgements = _by_key(path / "judgements" / name, last=True)  # one without a preference is asked for again
    rows = []
    for key, record in _by_key(path / "records" / name).items():
        row = {name: record.get(name, default) for name, default in RECORD_FIELDS.items()}
        row.update(trial=trial["id"], key=key)
        row.update({name: trial[name] for name in ("setting", "method", "split", "seed")})
        for metric, value in (scores.get(key, {}).get("scores") or {}).items():
            if isinstance(value, (int, float)):
                metrics.setdefault(metric)
                row[metric] = value
        judgement = judgements.get(key, {})
        row.update({name: judgement.get(name) for name in JUDGEMENT_FIELDS})
        rows.append(row)
    return rows


def _missing(trials: pd.DataFrame, records: pd.DataFrame, metrics: list[str]) -> list[Missing]:
    """Compare each trial with the prompts of its split; scores and judgements with the records there are."""
    expected = records.groupby("split")["key"].unique().to_dict()
    judged = set(records.loc[records["preference"].notna(), "setting"])
    by_trial = dict(iter(records.groupby("trial")))
    found = []
    for row in trials.itertuples():
        have = by_trial.get(row.id, records.iloc[:0])
        holes = {"record": sorted(set(expected.get(row.split, ())) - set(have["key"]))}
        if metrics:
            holes["score"] = sorted(have.loc[have[metrics].isna().all(axis=1), "key"])
        if row.setting in judged:
            holes["judgement"] = sorted(have.loc[have["preference"].isna(), "key"])
        for what, keys in holes.items():
            if keys:
                found.append(Missing(row.id, row.setting, row.split, row.seed, what, tuple(keys)))
    return found


def _by_key(path: Path, last: bool = False) -> dict[str, dict]:
    """key -> the first row with that key, or the last one."""
    rows: dict[str, dict] = {}
    for row in _lines(path):
        if "key" not in row:
            raise ReportError(f"{path}: a row without 'key'; remove the line and run the sweep again")
        if last or row["key"] not in rows:
            rows[row["key"]] = row
    return rows


def _lines(path: Path) -> Iterator[dict]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):  # torn by a kill: the sweep writes it again
                return
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise ReportError(f"{path}:{number}: not a JSON object; remove the line and run the sweep again")
            yield row


def _json(path: Path) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ReportError(f"{path}: not a JSON object; remove the file and run the sweep again")
    return value
