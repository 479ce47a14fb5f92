"""The alignment tax: every task's scores guided against unguided, paired by document, with the report's bootstrap."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reports.bootstrap import Resamples, difference
from reports.errors import ReportError
from reports.family import holm
from reports.foreign import in_table
from reports.rows import CHECKSUM, place_of, signed
from reports.rows import read as read_rows


@dataclass(frozen=True)
class TaxScores:
    """One setting's scores on every task.

    Attributes:
        results: task or group -> {"METRIC,FILTER": score}, as lm-eval aggregates them over the documents.
        n: task -> documents. subtasks: group -> its tasks and groups.
        documents: (task, "METRIC,FILTER") -> {document: score}, where a document has a score of its own.
    """

    method: str
    settings: dict
    results: dict[str, dict[str, float]]
    n: dict[str, int]
    subtasks: dict[str, list[str]]
    documents: dict[tuple[str, str], dict[str, float]]

    def scores(self, task: str, score: str) -> dict[str, float]:
        """document -> score on a task, or on all the tasks of a group; {} where its mean is not lm-eval's figure.

        lm-eval's other aggregates (a perplexity, F1, a group's unweighted mean) are no means over documents, and what
        resampling documents says about a mean does not hold for them.
        """
        found = {
            f"{name}/{document}": value
            for name in self._tasks(task)
            for document, value in self.documents.get((name, score), {}).items()
        }
        figure = self.results[task].get(score, math.nan)
        same = found and math.isclose(np.mean(list(found.values())), figure, rel_tol=1e-9, abs_tol=1e-12)
        return found if same else {}

    def count(self, task: str) -> int | None:
        """Documents of a task or of a group's tasks."""
        counts = [self.n[name] for name in self._tasks(task) if name in self.n]
        return sum(counts) if counts else None

    def _tasks(self, name: str) -> Iterator[str]:
        inner = [one for one in self.subtasks.get(name, []) if one != name]
        if not inner:
            yield name
        for one in inner:
            yield from self._tasks(one)


def read(path: Path) -> TaxScores:
    """A setting's file ``tax/TRIAL.json`` and its documents beside it, ``tax/TRIAL.jsonl``.

    Raises:
        ReportError: a damaged file, with its mend.
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        is_signed = CHECKSUM in kept
        if is_signed and kept != signed(kept, place_of(path)):
            raise ValueError("not what was written there: its checksum differs")
        rows = list(_read_rows(path.with_suffix(".jsonl"), is_signed))
        if len(rows) != kept.get("documents", len(rows)):
            raise ValueError(f"{len(rows)} of {kept['documents']} documents")
        documents: dict[tuple[str, str], dict[str, float]] = {}
        for row in rows:
            for score, value in row["scores"].items():
                documents.setdefault((row["task"], score), {})[str(row["document"])] = float(value)
        names = ("method", "settings", "results", "n", "subtasks")
        return TaxScores(**{name: kept[name] for name in names}, documents=documents)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReportError(f"{path}: not the scores of a setting ({error}); remove it and run the sweep again") from None


def _read_rows(path: Path, must_be_signed: bool) -> Iterator[dict]:
    for found in read_rows(path, must_be_signed):
        if found.fault or found.row is None:
            raise ValueError(f"{path.name}:{found.number}: {found.fault}")
        yield found.row


def compare(base: TaxScores, guided: list[TaxScores], resamples: int = 1000) -> list[dict]:
    """One row for each guided setting, task and score.

    Returns:
        ``{"task", "metric", "method", "settings", "unguided", "guided", "difference", "low", "high", "p_value",
        "p_permutation", "p_holm", "n"}``: scores as lm-eval aggregates them; the paired difference with its 95%
        interval (BCa, documents resampled), Student's t and the sign-flip test, t's p-values Holm-corrected over the
        table. low, high and the p-values are null where a score is no mean over documents.

    Raises:
        ReportError: the settings were evaluated on different documents.
    """
    rows = [row for setting in guided for row in _rows(base, setting, resamples)]
    tested = [row for row in rows if row["p_value"] is not None]
    for row, p in zip(tested, holm([row["p_value"] for row in tested]) if tested else [], strict=True):
        row["p_holm"] = float(p)
    return rows


def _rows(base: TaxScores, guided: TaxScores, resamples: int) -> Iterator[dict]:
    for task, scores in guided.results.items():
        for score, value in scores.items():
            if score not in base.results.get(task, {}):
                raise ReportError(f"tax: the base has no {task} {score}; remove the folder tax and run again")
            metric, _, filtered = score.partition(",")
            unguided = base.results[task][score]
            row = {
                "task": task,
                "metric": metric if filtered in ("", "none") else f"{metric} ({filtered})",
                "method": guided.method,
                "settings": guided.settings,
                "unguided": unguided,
                "guided": value,
                "difference": value - unguided,
                **dict.fromkeys(("low", "high", "p_value", "p_permutation", "p_holm")),
                "n": guided.count(task),
            }
            pair = _paired(base.scores(task, score), guided.scores(task, score), task)
            if pair:
                found = difference(*pair, Resamples(len(pair[0]), resamples))
                row |= {name: getattr(found, name) for name in ("low", "high", "p_value", "p_permutation", "n")}
            yield row


def _paired(base: dict[str, float], guided: dict[str, float], task: str) -> tuple[list[float], list[float]] | None:
    """The scores of the same documents, guided and unguided; None where one side has none."""
    if not base or not guided:
        return None
    if base.keys() != guided.keys():
        raise ReportError(f"tax: {task} was evaluated on different documents; remove the folder tax and run again")
    return [guided[document] for document in base], [base[document] for document in base]


def markdown(rows: list[dict]) -> str:
    """Guided against unguided, a line for each task, metric and setting."""
    lines = [
        "| task | metric | setting | n | unguided | guided | difference [95%] | p (Holm) |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        values = row["settings"].items()
        setting = f"{row['method']} " + ", ".join(
            f"{k} {v:g}" if isinstance(v, int | float) else f"{k} {v}" for k, v in values
        )
        interval = "" if row["low"] is None else f" [{row['low']:+.3f}, {row['high']:+.3f}]"
        p = "" if row["p_holm"] is None else "< 0.001" if row["p_holm"] < 0.001 else f"{row['p_holm']:.3f}"
        lines.append(
            f"| {in_table(row['task'])} | {in_table(row['metric'])} | {in_table(setting)} "
            f"| {row['n']} | {row['unguided']:.3f} "
            f"| {row['guided']:.3f} | {row['difference']:+.3f}{interval} | {p} |"
        )
    return "\n".join(lines)
