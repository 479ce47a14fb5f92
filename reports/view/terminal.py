"""The report's table for a terminal, as plain text."""

import unicodedata
from typing import TYPE_CHECKING

from reports.foreign import printable
from reports.summary import cell, shown

if TYPE_CHECKING:
    from reports.compile import Report


def table(report: "Report") -> str:
    """The answer and one line per setting on the reported split; nothing in it can steer the terminal."""
    answer = report.answer
    rows = [row for row in report.rows if row.split == answer.reported_on]
    names = [name for name in shown(rows, answer.directions) if name != "value"]
    lines = [["", "setting", *(answer.heading(name, judged=False) for name in names)]]
    for row in rows:
        lines.append(["*" if row is answer.best else "", row.setting.label, *(cell(row, name) for name in names)])
    lines = [[printable(text) for text in line] for line in lines]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    out = []
    for line in lines:
        padded = [text + " " * (widths[i] - _width(text)) for i, text in enumerate(line[:2])]
        padded += [" " * (widths[i] - _width(text)) + text for i, text in enumerate(line[2:], 2)]
        out.append("  ".join(padded).rstrip())
    out.insert(1, "  ".join("─" * width for width in widths))
    star = "best" if answer.leads else "best guided setting"
    if answer.best:
        out.append(f"* {star} on the {answer.chosen_on} prompts; figures on the {answer.reported_on} prompts")
    about = [f"{what}: {text}" for what, text in answer.about]
    return "\n".join(
        [
            *map(printable, filter(None, [answer.sentence, answer.cost, *about])),
            "",
            *out,
            *map(printable, answer.caveats),
        ]
    )


def _width(text: str) -> int:
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
