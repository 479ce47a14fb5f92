"""Gain and tax beside each other: what a setting wins on the task that it is for, and what it changes on others."""

import json
from dataclasses import dataclass
from pathlib import Path

from reports.answer import Answer
from reports.bootstrap import Difference
from reports.errors import ReportError
from reports.summary import bracket
from reports.table import Row, Table

NEEDED = ("task", "metric", "method", "settings", "difference", "low", "high")


@dataclass(frozen=True)
class ScoreChange:
    """A score guided minus unguided, with its 95% interval where the score is a mean over documents."""

    mean: float
    low: float | None
    high: float | None

    @property
    def text(self) -> str:
        """ "+0.013 [+0.001, +0.024]" """
        numbers = [f"{number:+.3f}" for number in (self.mean, self.low, self.high) if number is not None]
        text = numbers[0] + (f" [{numbers[1]}, {numbers[2]}]" if len(numbers) == 3 else "")
        return text.replace("-", "−")

    @property
    def said(self) -> str:
        """ "higher", "lower", or "" where the interval holds zero, or there is none."""
        if self.low is None or self.high is None:
            return ""
        return "higher" if self.low > 0 else "lower" if self.high < 0 else ""


@dataclass(frozen=True)
class GainAndTax:
    """A table: per setting its gain over the base, and its change of every score that the tax was measured by.

    Attributes:
        metric: the figure of the gains. scores: (task, metric) of the columns.
        lines: (row on the reported prompts, its gain or None, its change of each score or None).
    """

    metric: str
    scores: list[tuple[str, str]]
    lines: list[tuple[Row, Difference | None, list[ScoreChange | None]]]

    def head(self, answer: Answer) -> list[str]:
        """The columns' names."""
        return ["setting", f"gain in {answer.heading(self.metric)}", *(f"{task}: {name}" for task, name in self.scores)]

    def texts(self) -> list[list[str]]:
        """The lines as text."""
        return [
            [row.setting.label, bracket(gain, True) if gain else "–", *(one.text if one else "–" for one in changes)]
            for row, gain, changes in self.lines
        ]


def read_tax(run: Path) -> list[dict]:
    """The rows of a sweep with ``task.names``: its ``report/tax.json``, as `reports.tax.compare` gives them.

    Raises:
        ReportError: no such file, or another one of that name.
    """
    path = run / "report" / "tax.json"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        for row in rows:
            missing = [name for name in NEEDED if name not in row]
            numbers = [row[name] for name in ("difference", "low", "high") if name in row]
            if missing or not all(number is None or isinstance(number, int | float) for number in numbers):
                raise ValueError(f"a row without {', '.join(missing) or 'numbers'}")
    except OSError:
        mend = "give the folder of a sweep with task.names=[...]"
        raise ReportError(f"tax={run}: there is no {path.relative_to(run)}; {mend}") from None
    except (ValueError, TypeError) as error:
        raise ReportError(f"{path}: no table of an alignment tax ({error}); run the sweep again") from None
    return rows


def gain_and_tax(table: Table, answer: Answer, tax: list[dict]) -> GainAndTax:
    """The settings of the reported prompts that the tax was measured of, in the table's order.

    Raises:
        ReportError: no setting is in both.
    """
    scores = list(dict.fromkeys((row["task"], row["metric"]) for row in tax))
    found = {(row["task"], row["metric"], _named(row["method"], row["settings"])): row for row in tax}
    base = next((row for row in table.on(answer.reported_on) if table.is_base(row.setting.id)), None)
    lines = []
    for row in table.on(answer.reported_on):
        who = _named(row.setting.method, row.setting.axes)
        measured = [found.get((task, metric, who)) for task, metric in scores]
        if any(measured) and not table.is_base(row.setting.id):
            changes = [ScoreChange(one["difference"], one["low"], one["high"]) if one else None for one in measured]
            gain = None
            if base and row.figures.get(answer.metric) and base.figures.get(answer.metric):
                gain = table.difference(row.setting.id, base.setting.id, row.split, answer.metric)
            lines.append((row, gain, changes))
    if not lines:
        theirs = sorted({row["method"] for row in tax})
        raise ReportError(
            f"tax: it was measured of settings that the run has not ({', '.join(theirs)}); "
            "run the tax with the settings of this run, or leave tax out"
        )
    return GainAndTax(answer.metric, scores, lines)


def _named(method: str, settings: dict) -> str:
    numbers = {name: float(one) if type(one) is int else one for name, one in settings.items()}  # 1 is 1.0
    return json.dumps([method, numbers], sort_keys=True)
