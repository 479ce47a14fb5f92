"""The report's one HTML file, and the second one for samples that it cannot hold."""

import json
import pkgutil
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jinja2

from reports import summary
from reports.answer import Answer
from reports.bootstrap import Interval, Point
from reports.compare import Change
from reports.gain_and_tax import GainAndTax
from reports.naming import digits, figure_name
from reports.published import published
from reports.table import Row, Table
from reports.view.figures import figures
from reports.view.samples import embed, samples

SECOND_FILE = "samples.html"
LONGEST = 12  # entries of the manifest that get a line each
WIDTH = 78  # of a whisker, in CSS pixels


@dataclass(frozen=True)
class Whisker:
    """Where an interval lies in its column: low, mean and high in pixels, and zero's place or None."""

    low: float
    mean: float
    high: float
    zero: float | None


def pages(table: Table, answer: Answer, changes: list[Change], beside: GainAndTax | None = None) -> dict[str, str]:
    """File name -> HTML: "index.html", and "samples.html" where not every response fits into the first."""
    templates = _templates()
    embedded = samples(table, answer)
    more = SECOND_FILE if embedded["note"] else ""
    figs = figures(table, answer)
    names = summary.shown(table.rows, answer.directions)
    index = templates.get_template("index.html.j2").render(
        answer=answer,
        table=table,
        changes=changes,
        beside=beside,
        figures=figs,
        plots=embed({figure.id: figure.plot for figure in figs}),
        samples=embed(embedded),
        note=embedded["note"],
        more=more,
        names=names,
        equal_names=[name for name in names if name != "value"],
        whisker=_whiskers(table.rows, names),
        gap_whisker=_gaps([c.difference for c in answer.comparisons]),
        change_whisker=_gaps([c.difference for c in changes]),
        gain_whisker=_gaps([gain for _, gain, _ in beside.lines if gain] if beside else []),
        published=published(table, answer),
        facts=facts(table),
        missing=table.run.missing,
        config=table.run.config,
        manifest=json.dumps(table.run.manifest, indent=2, ensure_ascii=False),
        plotly=jinja2.utils.markupsafe.Markup(_plotly()),
    )
    files = {"index.html": index}
    if more:
        everything = samples(table, answer, budget=None)
        files[more] = templates.get_template("samples.html.j2").render(samples=embed(everything), note="", more="")
    return files


def facts(table: Table) -> list[tuple[str, str]]:
    """The manifest's entries as (name, text), with the seeds of each split; a short nested entry is one line each."""
    flat = []
    for name, value in table.run.manifest.items():
        title = name.replace("_", " ")
        if isinstance(value, dict) and len(value) <= LONGEST:
            flat += [(f"{title}: {inner}", _plain(item)) for inner, item in value.items()]
        elif isinstance(value, dict):
            flat.append((title, ", ".join(f"{inner} {_plain(item)}" for inner, item in value.items())))
        else:
            flat.append((title, _plain(value)))
    for split in table.run.splits:
        seeds = sorted({seed for row in table.on(split) for seed in row.seeds})
        flat.append(
            (f"{split} prompts and seeds", f"{len(table.keys[split])} prompts, seeds {', '.join(map(str, seeds))}")
        )
    return flat


def _plain(value: object) -> str:
    if isinstance(value, (list, tuple)) and all(isinstance(item, (str, int, float)) for item in value):
        return " ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plotly() -> str:
    """plotly's own script, as the package brings it."""
    script = pkgutil.get_data("plotly", "package_data/plotly.min.js")
    assert script is not None
    return script.decode("utf-8")


def _templates() -> jinja2.Environment:
    loader = jinja2.PackageLoader("reports")
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    markup = jinja2.utils.markupsafe.Markup
    environment.filters["raw_json"] = markup  # only ever the output of `embed`
    environment.filters["glue"] = lambda text: re.sub(r"(?<=\b[WKLN]) (?=\d)|(?<=weight) (?=\d)| (?=·)", "\u00a0", text)
    environment.globals.update(
        cell=summary.cell,
        budget_heading=summary.budget_heading,
        budget_title=summary.budget_title,
        passes=summary.passes,
        digits=digits,
        bracket=summary.bracket,
        p_value=summary.p_value,
        figure_name=figure_name,
        width=WIDTH,
        source=lambda name: markup(loader.get_source(environment, name)[0]),
    )
    return environment


def _whiskers(rows: list[Row], names: list[str]) -> Callable[[Row, str], Whisker | None]:
    """(row, figure name) -> Whisker on the column's own scale."""
    scale = {}
    for name in names:
        present = [figure for row in rows if isinstance(figure := row.figures.get(name), Interval)]
        if present:
            scale[name] = (min(f.low for f in present), max(f.high for f in present))

    def place(row: Row, name: str) -> Whisker | None:
        return _place(row.figures.get(name), *scale[name]) if name in scale else None

    return place


def _gaps(differences: Sequence[Interval]) -> Callable[[Interval], Whisker | None]:
    """Whiskers of differences on a scale that holds zero."""
    low = min([0.0, *(gap.low for gap in differences)])
    high = max([0.0, *(gap.high for gap in differences)])
    return lambda gap: _place(gap, low, high)


def _place(figure: Interval | Point | None, low: float, high: float) -> Whisker | None:
    if not isinstance(figure, Interval) or high <= low:
        return None

    def at(value: float) -> float:
        return round(4 + (WIDTH - 8) * (value - low) / (high - low), 1)

    return Whisker(at(figure.low), at(figure.mean), at(figure.high), at(0.0) if low <= 0 <= high else None)
