"""The frontiers as plotly figures: plain dicts, without colours (the page gives them, for light and for dark).

Each trace says its method's place in the palette in `meta.method`; methods differ by symbol as well as by colour.
"""

from html import escape

from reports.answer import Answer
from reports.compute import PASSES
from reports.naming import figure_name
from reports.table import Table
from reports.view.front import MOST_NAMED, faded, front
from reports.view.marks import Figure, as_text, better_lies, hover, layout, of_row, rows_with, scatter, whiskers
from reports.view.shift import shift_figure


def figures(table: Table, answer: Answer) -> list[Figure]:
    """Those of the frontiers that the records have figures for."""
    methods = list(dict.fromkeys(row.setting.group for row in table.rows))
    made = [
        _against_kl(table, answer, methods),
        _against_cost(table, answer, methods),
        _against_fluency(table, answer, methods),
        _against_speed(table, answer, methods),
        _proxy(table, answer, methods),
        *_heat_maps(table, answer, methods),
        _length(table, answer, methods),
        shift_figure(table, answer),
    ]
    return [figure for figure in made if figure]


def _frontier(
    name: str,
    title: str,
    reading: str,
    axes: tuple[str, str],
    table: Table,
    answer: Answer,
    methods: list[str],
    right: bool | None = False,
    **axis: str,
) -> Figure | None:
    """One figure against another, a mark a setting; None where no row has both, or both are one.

    Args:
        name: the figure's id on the page. axes: the figures to the right and upwards.
        right: further right is better, or not; None: neither, and the marks of a method are joined by lines.
        axis: plotly's options of the horizontal axis.
    """
    rows = rows_with(table, answer, *axes)
    if not rows or axes[0] == axes[1]:
        return None
    crowded = len(methods) > MOST_NAMED
    data = scatter(rows, *axes, answer, methods, lines=right is None)
    if right is not None and (line := front(rows, *axes, answer, right, named=crowded)):
        data = [*line, *(faded(data, line[0]) if crowded else data)]
        reading += " The stepped line joins the chosen settings that no other one beats on both axes."
        reading += " Of so many methods, the chosen settings alone are drawn, the others faint." if crowded else ""
    plot = {"data": data, "layout": layout(answer, *axes, **axis) | {"showlegend": not crowded}}
    return Figure(name, title, reading, plot, *as_text(answer, rows, *axes), wide=crowded)


def _against_kl(table: Table, answer: Answer, methods: list[str]) -> Figure | None:
    title = f"{figure_name(answer.metric).capitalize()} against KL to the base"
    reading = (
        f"Further {better_lies(answer, answer.metric)} at the same KL is better. "
        "Hollow marks: the KL is an upper bound, so the point may lie further left. "
        "Large marks: the chosen settings on the reported prompts."
    )
    return _frontier("kl", title, reading, ("kl", answer.metric), table, answer, methods)


def _against_cost(table: Table, answer: Answer, methods: list[str]) -> Figure | None:
    title = f"{figure_name(answer.metric).capitalize()} against cost"
    reading = (
        f"Further {better_lies(answer, answer.metric)} at the same forward passes a token is better, as if "
        "each model ran only where the method needs it. A pass is of one model at one position: small models count as "
        "large ones do."
    )
    return _frontier("cost", title, reading, (PASSES, answer.metric), table, answer, methods, type="log")


def _against_fluency(table: Table, answer: Answer, methods: list[str]) -> Figure | None:
    """The gain and what it took from the text, beside each other."""
    title = f"{figure_name(answer.metric).capitalize()} against fluency"
    reading = (
        f"{better_lies(answer, answer.metric).capitalize()} and to the right is better: what a setting gains, and what "
        "it costs the text."
    )
    return _frontier("fluency", title, reading, ("fluency", answer.metric), table, answer, methods, True)


def _against_speed(table: Table, answer: Answer, methods: list[str]) -> Figure | None:
    rated = (rate for rate in ("lc_win_rate", "win_rate") if rows_with(table, answer, "tokens_per_second", rate))
    rate = next(rated, answer.metric)
    title = f"{figure_name(rate).capitalize()} against speed"
    reading = (
        f"{better_lies(answer, rate).capitalize()} and to the right is better: what a setting does "
        "to the text, and how fast it decodes on this run's device."
    )
    return _frontier("speed", title, reading, ("tokens_per_second", rate), table, answer, methods, True, type="log")


def _proxy(table: Table, answer: Answer, methods: list[str]) -> Figure | None:
    title = f"Proxy value against {figure_name(answer.metric)}"
    reading = (
        "The value that chose each response, as the weight (else W·K or N) grows along a line. Where a line goes right "
        f"but not {better_lies(answer, answer.metric)}, the proxy is pleased and the {figure_name(answer.metric)} is "
        "not: over-optimisation. Scales differ by method."
    )
    return _frontier("proxy", title, reading, ("value", answer.metric), table, answer, methods, None)


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
                    "z": [[row and of_row(row, answer.metric).mean for row in line] for line in grid],
                    "text": [
                        [f"{of_row(row, answer.metric).mean:.2f}" if row else "" for row in line] for line in grid
                    ],
                    "customdata": [[hover(answer, row, answer.metric) if row else "" for row in line] for line in grid],
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
                *as_text(answer, rows, answer.metric),
            )
        )
    return made


def _length(table: Table, answer: Answer, methods: list[str]) -> Figure | None:
    rows = rows_with(table, answer, "length", "win_rate")
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
                    "x": [of_row(row, "length").mean for row in mine],
                    "y": [of_row(row, measure).mean for row in mine],
                    "error_y": whiskers(mine, measure),
                    "text": [hover(answer, row, "length", "win_rate", "lc_win_rate") for row in mine],
                    "hovertemplate": "%{text}<extra></extra>",
                    "marker": {"size": 9, "symbol": symbol},
                    "meta": {"method": 0 if measure == "win_rate" else 1},
                }
            )
    axes = layout(answer, "length", "win_rate")
    axes["yaxis"]["title"]["text"] = "win rate (%)"
    return Figure(
        "length",
        "Length against win rate, raw and length-controlled",
        "Where the raw rate lies above the length-controlled one, the judge is paying for length.",
        {"data": traces, "layout": axes},
        *as_text(answer, rows, "length", "win_rate", "lc_win_rate"),
    )
