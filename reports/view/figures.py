"""The frontiers as plotly figures: plain dicts, without colours (the page gives them, for light and for dark).

Each trace says its method's place in the palette in `meta.method`; methods differ by symbol as well as by colour.
"""

from dataclasses import dataclass
from html import escape

from reports.answer import Answer
from reports.bootstrap import Interval, Point
from reports.naming import figure_name
from reports.summary import cell
from reports.table import Row, Table

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "pentagon", "triangle-down", "x", "hexagram")


@dataclass(frozen=True)
class Figure:
    """One figure: its id on the page, what it shows, how to read it, plotly's dict, and the rows behind it as text."""

    id: str
    title: str
    reading: str
    plot: dict
    head: list[str]
    body: list[list[str]]


def figures(table: Table, answer: Answer) -> list[Figure]:
    """Those of the frontiers that the records have figures for."""
    methods = list(dict.fromkeys(row.setting.group for row in table.rows))
    made = [
        _against_kl(table, answer, methods),
        _against_speed(table, answer, methods),
        _proxy(table, answer, methods),
        *_heat_maps(table, answer, methods),
        _length(table, answer, methods),
    ]
    return [figure for figure in made if figure]


def _rows(table: Table, answer: Answer, *names: str) -> list[Row]:
    """The grid's rows, and the chosen settings on the reported prompts, that have all the figures."""
    rows = table.on(answer.chosen_on) + (table.on(answer.reported_on) if answer.reported_on != answer.chosen_on else [])
    return [row for row in rows if all(row.figures.get(name) for name in names)]


def _scatter(rows: list[Row], x: str, y: str, answer: Answer, methods: list[str], lines: bool = False) -> list[dict]:
    """One trace per method on the grid (one per line, where lines are drawn), one for its chosen setting."""
    traces, splits = [], dict.fromkeys((answer.chosen_on, answer.reported_on))
    for place, method in enumerate(methods):
        named = False
        for split in splits:
            mine = [row for row in rows if row.setting.group == method and row.split == split]
            chosen = split == answer.reported_on and len(splits) > 1
            for part in _growing(mine) if lines and not chosen else [mine] if mine else []:
                marks = _marks(part, x, y, answer, place, large=chosen)
                mode = "lines+markers" if lines and not chosen else "markers"
                traces.append(marks | {"mode": mode, "name": escape(method), "showlegend": not named})
                named = True
    return traces


def _growing(rows: list[Row]) -> list[list[Row]]:
    """The lines of one method: the weight grows along a line where it was varied, else the rows per prompt."""
    weights = {row.setting.weight for row in rows}
    lines: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row.setting.rows, row.setting.weight or 0)):
        lines.setdefault(row.setting.beam if len(weights) > 1 else "", []).append(row)
    return list(lines.values())


def _marks(rows: list[Row], x: str, y: str, answer: Answer, place: int, large: bool) -> dict:
    symbol = SYMBOLS[place % len(SYMBOLS)]
    return {
        "type": "scatter",
        "legendgroup": str(place),
        "x": [_figure(row, x).mean for row in rows],
        "y": [_figure(row, y).mean for row in rows],
        "error_y": _whiskers(rows, y),
        "text": [_hover(answer, row, x, y) for row in rows],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {
            "size": 15 if large else 9,
            "symbol": [f"{symbol}-open" if x == "kl" and row.kl_bound else symbol for row in rows],
        },
        "meta": {"method": place, "reported": large},
    }


def _figure(row: Row, name: str) -> Interval | Point:
    """A row's figure; the rows of a plot are those that have it."""
    figure = row.figures[name]
    assert figure is not None
    return figure


def _whiskers(rows: list[Row], name: str) -> dict:
    found = [_figure(row, name) for row in rows]
    return {
        "type": "data",
        "symmetric": False,
        "array": [None if isinstance(figure, Point) else figure.high - figure.mean for figure in found],
        "arrayminus": [None if isinstance(figure, Point) else figure.mean - figure.low for figure in found],
        "thickness": 1,
        "width": 0,
    }


def _hover(answer: Answer, row: Row, *names: str) -> str:
    figures = "<br>".join(f"{escape(answer.heading(name))}: {cell(row, name)}" for name in names)
    return f"<b>{escape(row.setting.label)}</b><br>{row.split}, {row.n_prompts} prompts<br>{figures}"


def _layout(answer: Answer, x: str, y: str, **more) -> dict:
    titles = [{"title": {"text": escape(answer.heading(name))}} for name in (x, y)]
    return {"xaxis": {**titles[0], **more}, "yaxis": titles[1]}


def _up(answer: Answer, name: str) -> str:
    """Where a better figure lies on the vertical axis."""
    return "down" if answer.directions.of(name) == "lower" else "up"


def _text(answer: Answer, rows: list[Row], *names: str) -> tuple[list[str], list[list[str]]]:
    head = ["setting", "split", *map(answer.heading, names)]
    return head, [[row.setting.label, row.split, *(cell(row, name) for name in names)] for row in rows]


def _against_kl(table: Table, answer: Answer, methods: list[str]) -> Figure | None:
    rows = _rows(table, answer, "kl", answer.metric)
    if not rows or answer.metric == "kl":
        return None
    plot = {
        "data": _scatter(rows, "kl", answer.metric, answer, methods),
        "layout": _layout(answer, "kl", answer.metric),
    }
    return Figure(
        "kl",
        f"{figure_name(answer.metric).capitalize()} against KL to the base",
        f"Further {_up(answer, answer.metric)} at the same KL is better. "
        "Hollow marks: the KL is an upper bound, so the point may lie further left. "
        "Large marks: the chosen settings on the reported prompts.",
        plot,
        *_text(answer, rows, "kl", answer.metric),
    )


def _against_speed(table: Table, answer: Answer, methods: list[str]) -> Figure | None:
    rate = "lc_win_rate"
    if not _rows(table, answer, "tokens_per_second", rate):
        rate = "win_rate" if _rows(table, answer, "tokens_per_second", "win_rate") else answer.metric
    rows = _rows(table, answer, "tokens_per_second", rate)
    if not rows or rate == "tokens_per_second":
        return None
    plot = {
        "data": _scatter(rows, "tokens_per_second", rate, answer, methods),
        "layout": _layout(answer, "tokens_per_second", rate, type="log"),
    }
    return Figure(
        "speed",
        f"{figure_name(rate).capitalize()} against speed",
        f"{_up(answer, rate).capitalize()} and to the right is better: what a setting does "
        "to the text, and how fast it decodes on this run's device.",
        plot,
        *_text(answer, rows, "tokens_per_second", rate),
    )


def _proxy(table: Table, answer: Answer, methods: list[str]) -> Figure | None:
    rows = _rows(table, answer, "value", answer.metric)
    if not rows:
        return None
    plot = {
        "data": _scatter(rows, "value", answer.metric, answer, methods, lines=True),
        "layout": _layout(answer, "value", answer.metric),
    }
    return Figure(
        "proxy",
        f"Proxy value against {figure_name(answer.metric)}",
        "The value that chose each response, as the weight (else W·K or N) grows along a line. Where a line goes right "
        f"but not {_up(answer, answer.metric)}, the proxy is pleased and the {figure_name(answer.metric)} is not: "
        "over-optimisation. Scales differ by method.",
        plot,
        *_text(answer, rows, "value", answer.metric),
    )


def _heat_maps(table: Table, answer: Answer, methods: list[str]) -> list[Figure]:
    made = []
    for place, method in enumerate(methods):
        rows = [
            row
            for row in table.on(answer.chosen_on)
            if row.setting.group == method and row.setting.weight is not None and row.figures.get(answer.metric)
        ]
        weights = sorted({row.setting.weight for row in rows if row.setting.weight is not None})
        beams = list(dict.fromkeys(row.setting.beam for row in sorted(rows, key=lambda row: row.setting.rows)))
        if len(weights) < 2 or len(beams) < 2:
            continue
        at = {(row.setting.beam, row.setting.weight): row for row in rows}
        grid = [[at.get((beam, weight)) for weight in weights] for beam in beams]
        name = figure_name(answer.metric)
        plot = {
            "data": [
                {
                    "type": "heatmap",
                    "x": [f"{weight:g}" for weight in weights],
                    "y": [escape(beam) for beam in beams],
                    "z": [[row and _figure(row, answer.metric).mean for row in line] for line in grid],
                    "text": [
                        [f"{_figure(row, answer.metric).mean:.2f}" if row else "" for row in line] for line in grid
                    ],
                    "customdata": [
                        [_hover(answer, row, answer.metric) if row else "" for row in line] for line in grid
                    ],
                    "texttemplate": "%{text}",
                    "hovertemplate": "%{customdata}<extra></extra>",
                    "xgap": 2,
                    "ygap": 2,
                    "meta": {"method": place},
                }
            ],
            "layout": {
                "xaxis": {"title": {"text": "weight"}, "type": "category"},
                "yaxis": {"type": "category"},
            },
        }
        made.append(
            Figure(
                f"heat-{place}",
                f"{method}: {name} over weight and beam",
                f"Mean {name} on the {answer.chosen_on} prompts; empty cells were not run.",
                plot,
                *_text(answer, rows, answer.metric),
            )
        )
    return made


def _length(table: Table, answer: Answer, methods: list[str]) -> Figure | None:
    rows = _rows(table, answer, "length", "win_rate")
    if not rows:
        return None
    traces = []
    for measure, symbol in (("win_rate", "circle-open"), ("lc_win_rate", "diamond")):
        mine = [row for row in rows if row.figures.get(measure)]
        if mine:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": figure_name(measure),
                    "x": [_figure(row, "length").mean for row in mine],
                    "y": [_figure(row, measure).mean for row in mine],
                    "error_y": _whiskers(mine, measure),
                    "text": [_hover(answer, row, "length", "win_rate", "lc_win_rate") for row in mine],
                    "hovertemplate": "%{text}<extra></extra>",
                    "marker": {"size": 9, "symbol": symbol},
                    "meta": {"method": 0 if measure == "win_rate" else 1},
                }
            )
    layout = _layout(answer, "length", "win_rate")
    layout["yaxis"]["title"]["text"] = "win rate (%)"
    return Figure(
        "length",
        "Length against win rate, raw and length-controlled",
        "Where the raw rate lies above the length-controlled one, the judge is paying for length.",
        {"data": traces, "layout": layout},
        *_text(answer, rows, "length", "win_rate", "lc_win_rate"),
    )
