"""The report's figures as files: summary.json, summary.csv (safe to open in a spreadsheet) and summary.md."""

import csv
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.answer import Answer
from reports.bootstrap import Interval, Point
from reports.compare import Change
from reports.compute import PASSES, Budgets
from reports.direction import Directions
from reports.foreign import cell as in_cell
from reports.foreign import markdown
from reports.naming import digits, figure_name
from reports.table import Row

if TYPE_CHECKING:
    from reports.gain_and_tax import GainAndTax

FILES_ONLY = ("computed_passes_per_token",)


def rows(table_rows: list[Row]) -> list[dict]:
    """One plain object per row: estimates as {"mean", "low", "high", "n"}, kl also "bound"; null where there is none.

    `n` is the number of prompts behind the estimate; low and high are null where it has no interval.
    """
    return [_plain(row) for row in table_rows]


def as_json(table_rows: list[Row]) -> str:
    return json.dumps(rows(table_rows), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(table_rows: list[Row]) -> str:
    """One line per row, an estimate in four columns. A cell or heading that a spreadsheet would run starts with '."""
    plain = rows(table_rows)
    identities = [name for name in (*_IDENTITY, "run", *_WEIGHTED) if any(name in row for row in plain)]
    names = [name for name in (plain[0] if plain else {}) if name not in identities]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    bounds = ["kl_bound"]
    headings = [*identities, *(f"{name}{end}" for name in names for end in ("", "_low", "_high", "_n")), *bounds]
    writer.writerow(map(in_cell, headings))
    for row in plain:
        texts = {"settings": json.dumps(row["settings"], sort_keys=True), "seeds": " ".join(map(str, row["seeds"]))}
        identity = [texts.get(name, row.get(name, "")) for name in identities]
        figures = [(row[name] or {}).get(end, "") for name in names for end in ("mean", "low", "high", "n")]
        writer.writerow([*map(_cell, identity), *figures, (row["kl"] or {}).get("bound", "")])
    return file.getvalue()


def as_markdown(answer: Answer, changes: Sequence[Change] = (), beside: "GainAndTax | None" = None) -> str:
    """The answer, the methods at equal rows and equal passes, the comparisons, and the tax, for a pull request."""
    names = shown(answer.equal_rows, answer.directions)
    lines = [f"**{markdown(answer.sentence)}** {markdown(answer.cost)}".rstrip(), "", markdown(answer.question), ""]
    if answer.about:
        lines += [markdown("; ".join(f"{what}: {text}" for what, text in answer.about)) + ".", ""]
    lines += ["At equal rows of the batch per prompt, which is not equal compute:", ""] if answer.best else []
    lines += _table(
        ["setting", "rows", *(answer.heading(name) for name in names)],
        [[row.setting.label, row.setting.rows, *(cell(row, name) for name in names)] for row in answer.equal_rows],
    )
    if answer.equal_passes:
        lines += ["", markdown(budget_title(answer)), ""]
        lines += _table(["method", *map(budget_heading, answer.equal_passes.passes)], _budgets(answer))
    if answer.best and answer.comparisons:
        lines += ["", markdown(f"{answer.best.setting.label} minus, in {figure_name(answer.metric)}:"), ""]
        lines += _table(
            ["setting", "difference [95%]", "p (Holm)", "passes/token"],
            [
                [c.other.setting.label, bracket(c.difference, True), p_value(c.p_holm), passes(c.other)]
                for c in answer.comparisons
            ],
        )
    if beside:
        lines += ["", "Gain over the base, and the alignment tax:", ""]
        lines += _table(beside.head(answer), beside.texts())
    if changes:
        lines += ["", "Between the runs:", ""]
        lines += _table(
            ["setting", "split", "figure", "difference [95%]", "p (Holm)"],
            [
                [c.label, c.split, figure_name(c.metric), bracket(c.difference, True), p_value(c.p_holm)]
                for c in changes
            ],
        )
    lines += ["", *(f"- {markdown(caveat)}" for caveat in answer.caveats)]
    return "\n".join(lines).rstrip() + "\n"


def shown(table_rows: list[Row], directions: Directions) -> list[str]:
    """The figures of a table, in the report's order: those that at least one row has, without those that only the files
    hold; of what guides note of their responses, those that a quarter of the rows have."""
    names = dict.fromkeys(name for row in table_rows for name in row.figures if name not in FILES_ONLY)
    have = {name: sum(1 for row in table_rows if row.figures.get(name)) for name in names}
    return [name for name in names if have[name] >= (len(table_rows) / 4 if name in directions.noted else 1)]


def budget_heading(budget: float) -> str:
    """A budget of forward passes per token over a column."""
    return f"≤ {digits(PASSES, budget)} passes/token"


def budget_title(answer: Answer) -> str:
    """What the table of equal forward passes shows."""
    name, split = figure_name(answer.metric), answer.chosen_on
    return (
        f"Each method’s best {name} with at most so many forward passes per emitted token, on the {split} prompts, "
        "where every setting ran (the best of many is flattered there):"
    )


def passes(row: Row) -> str:
    """The forward passes per token of a row, as text."""
    figure = row.figures.get(PASSES)
    return digits(PASSES, figure.mean) if figure else "–"


def _budgets(answer: Answer) -> list[list[str]]:
    budgets: Budgets | None = answer.equal_passes
    body = []
    for method, column in budgets.lines if budgets else ():
        texts = [f"{cell(one.row, answer.metric)} {one.mark}".rstrip() if one else "–" for one in column]
        body.append([method, *texts])
    return body


def cell(row: Row, name: str) -> str:
    """A figure with its interval: "≤ 1.84" for a bound that does not vary, "–" where there is none; with its number of
    prompts where some of the split's lack it."""
    figure = row.figures.get(name)
    if figure is None:
        return "–"
    sign = "≤ " if name == "kl" and row.kl_bound and figure.mean > 0 else ""
    of = f" (n = {figure.n})" if figure.n != row.n_split else ""
    mean = digits(name, figure.mean)
    if isinstance(figure, Point) or figure.low == figure.high:
        return f"{sign}{mean}{of}"
    return f"{sign}{mean} [{digits(name, figure.low)}, {digits(name, figure.high)}]{of}"


def bracket(figure: Interval, signed: bool = False) -> str:
    """ "mean [low, high]" with two places."""
    form = "{:+.2f}" if signed else "{:.2f}"
    mean, low, high = (form.format(value).replace("-", "−") for value in (figure.mean, figure.low, figure.high))
    return f"{mean} [{low}, {high}]"


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


_WEIGHTED = ("answers", "effective_answers")  # of settings whose answers have weights
_IDENTITY = ("trial", "method", "settings", "split", "n_prompts", "seeds")


def _plain(row: Row) -> dict:
    figures = {name: _estimate(figure) for name, figure in row.figures.items()}
    if figures["kl"]:
        figures["kl"]["bound"] = row.kl_bound
    run = {"run": row.setting.run} if row.setting.run else {}
    identity = {
        "trial": row.id,
        "method": row.setting.method,
        "settings": row.setting.axes,
        "split": row.split,
        "n_prompts": row.n_prompts,
        "seeds": list(row.seeds),
    }
    weighted = {} if row.effective is None else {"answers": row.answers, "effective_answers": row.effective}
    return identity | figures | run | weighted


def _estimate(figure: Interval | Point | None) -> dict | None:
    return {"mean": figure.mean, "low": figure.low, "high": figure.high, "n": figure.n} if figure else None


def _cell(value: object) -> str | int | float:
    return value if isinstance(value, (int, float)) else in_cell(str(value))


def _table(head: list[str], body: list[list]) -> list[str]:
    rows = [[markdown(str(cell)) for cell in row] for row in (head, *body)]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:])]
