"""What the figures share: rows as marks with whiskers and hover texts, axes, and the numbers as text."""

from dataclasses import dataclass
from html import escape
from typing import Any

from reports.answer import Answer
from reports.bootstrap import Interval, Point
from reports.summary import cell
from reports.table import Row, Table

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "pentagon", "triangle-down", "x", "hexagram")


@dataclass(frozen=True)
class Figure:
    """One figure: its id on the page, what it shows, how to read it, plotly's dict, the rows behind it as text, and
    whether it takes the page's width."""

    id: str
    title: str
    reading: str
    plot: dict
    head: list[str]
    body: list[list[str]]
    wide: bool = False


def rows_with(table: Table, answer: Answer, *names: str) -> list[Row]:
    """The grid's rows, and the chosen settings on the reported prompts, that have all the figures."""
    rows = table.on(answer.chosen_on) + (table.on(answer.reported_on) if answer.reported_on != answer.chosen_on else [])
    return [row for row in rows if all(row.figures.get(name) for name in names)]


def scatter(rows: list[Row], x: str, y: str, answer: Answer, methods: list[str], lines: bool = False) -> list[dict]:
    """One trace per method on the grid (one per line, where lines are drawn), one for its chosen setting."""
    traces, splits = [], dict.fromkeys((answer.chosen_on, answer.reported_on))
    for place, method in enumerate(methods):
        named = False
        for split in splits:
            mine = [row for row in rows if row.setting.group == method and row.split == split]
            chosen = split == answer.reported_on and len(splits) > 1
            for part in growing(mine) if lines and not chosen else [mine] if mine else []:
                made = marks(part, x, y, answer, place, large=chosen)
                mode = "lines+markers" if lines and not chosen else "markers"
                traces.append(made | {"mode": mode, "name": escape(method), "showlegend": not named})
                named = True
    return traces


def growing(rows: list[Row]) -> list[list[Row]]:
    """The lines of one method: the weight grows along a line where it was varied, else the rows per prompt."""
    weights = {row.setting.weight for row in rows}
    lines: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row.setting.rows, row.setting.weight or 0)):
        lines.setdefault(row.setting.beam if len(weights) > 1 else "", []).append(row)
    return list(lines.values())


def marks(rows: list[Row], x: str, y: str, answer: Answer, place: int, large: bool) -> dict:
    # the page has as many colours: a hundred methods have as many pairs of the two
    symbol = SYMBOLS[(place + place // len(SYMBOLS)) % len(SYMBOLS)]
    return {
        "type": "scatter",
        "legendgroup": str(place),
        "x": [of_row(row, x).mean for row in rows],
        "y": [of_row(row, y).mean for row in rows],
        "error_y": whiskers(rows, y),
        "text": [hover(answer, row, x, y) for row in rows],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {
            "size": 15 if large else 9,
            "symbol": [f"{symbol}-open" if x == "kl" and row.kl_bound else symbol for row in rows],
        },
        "meta": {"method": place, "reported": large},
    }


def of_row(row: Row, name: str) -> Interval | Point:
    """A row's figure; the rows of a plot are those that have it."""
    figure = row.figures[name]
    assert figure is not None
    return figure


def whiskers(rows: list[Row], name: str) -> dict:
    found = [of_row(row, name) for row in rows]
    return {
        "type": "data",
        "symmetric": False,
        "array": [None if isinstance(figure, Point) else figure.high - figure.mean for figure in found],
        "arrayminus": [None if isinstance(figure, Point) else figure.mean - figure.low for figure in found],
        "thickness": 1,
        "width": 0,
    }


def hover(answer: Answer, row: Row, *names: str) -> str:
    figures = "<br>".join(f"{escape(answer.heading(name))}: {cell(row, name)}" for name in names)
    return f"<b>{escape(row.setting.label)}</b><br>{row.split}, {row.n_prompts} prompts<br>{figures}"


def layout(answer: Answer, x: str, y: str, **more: Any) -> dict:
    titles = [{"title": {"text": escape(answer.heading(name))}} for name in (x, y)]
    return {"xaxis": {**titles[0], **more}, "yaxis": titles[1]}


def better_lies(answer: Answer, name: str) -> str:
    """Where a better figure lies on the vertical axis."""
    return "down" if answer.directions.of(name) == "lower" else "up"


def as_text(answer: Answer, rows: list[Row], *names: str) -> tuple[list[str], list[list[str]]]:
    head = ["setting", "split", *map(answer.heading, names)]
    return head, [[row.setting.label, row.split, *(cell(row, name) for name in names)] for row in rows]
