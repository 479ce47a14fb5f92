"""Published figures beside the run's own, as the manifest's ``published`` gives them."""

from dataclasses import dataclass

from reports.answer import Answer
from reports.naming import figure_name
from reports.summary import cell
from reports.table import Table

AGAINST = {
    "win_rate": "Published win rates are against AlpacaEval's reference; ours are against this run's own base.",
    "lc_win_rate": "Published win rates are against AlpacaEval's reference; ours are against this run's own base.",
}


@dataclass(frozen=True)
class Beside:
    """A published figure and ours.

    Attributes:
        figure, model, source: what it is, of which base model, and where it stands.
        theirs, ours: (without guidance, guided), as text; "–" where this run has no such figure.
        note: what keeps the two from being the same measurement, or "".
    """

    figure: str
    model: str
    source: str
    theirs: tuple[str, str]
    ours: tuple[str, str]
    note: str


def published(table: Table, answer: Answer) -> list[Beside]:
    """One entry for each published figure of the manifest; ours are the base's and the best setting's."""
    rows = table.on(answer.reported_on)
    base = next((row for row in rows if row.setting.method == "base"), None)
    found = []
    for entry in table.run.manifest.get("published", []):
        metric = entry["metric"]
        of_base, of_best = ("–" if row is None else cell(row, metric) for row in (base, answer.best))
        theirs = f"{entry['base']:.2f}", f"{entry['guided']:.2f}"
        note = AGAINST.get(metric, "")
        found.append(Beside(figure_name(metric), entry["model"], entry["source"], theirs, (of_base, of_best), note))
    return found
