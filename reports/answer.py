"""What was asked, and the answer: chosen on dev, reported on test, compared on the pairs."""

from dataclasses import dataclass

from reports.bootstrap import Difference
from reports.family import holm
from reports.table import Row, Table

NAMES = {
    "gold_reward": "gold reward",
    "win_rate": "win rate",
    "lc_win_rate": "length-controlled win rate",
    "kl": "KL to the base",
    "tokens_per_second": "tokens/s",
    "forward_passes_per_token": "passes/token",
    "value": "proxy value",
}


@dataclass(frozen=True)
class Comparison:
    """The best setting minus another on the reported prompts; `p_holm` is corrected over the report's family."""

    other: Row
    difference: Difference
    p_holm: float


@dataclass(frozen=True)
class Answer:
    """The report's first lines.

    Attributes:
        metric: the figure that settings are chosen and compared by.
        chosen_on, reported_on: the splits.
        chosen: each method's chosen setting, its row on the reported split, the base first.
        best: the chosen setting with the highest figure on `chosen_on`, None while there is only a base.
        comparisons: `best` against each other method's chosen setting, the base first, then by rank on `chosen_on`.
        equal_compute: per method the setting with as many rows per prompt as `best`, else its chosen one.
        question, sentence: plain text.
        caveats: what a reader must know before believing it, plain sentences.
    """

    metric: str
    chosen_on: str
    reported_on: str
    chosen: list[Row]
    best: Row | None
    comparisons: list[Comparison]
    equal_compute: list[Row]
    question: str
    sentence: str
    caveats: list[str]


def figure_name(name: str) -> str:
    """A figure's name in prose."""
    return NAMES.get(name, name.replace("_", " "))


def answer(table: Table, metric: str = "gold_reward") -> Answer:
    """Choose on dev, compare on test. Falls back, and says so, where a split or the metric has no records."""
    run, caveats = table.run, []
    if not any(row.figures.get(metric) for row in table.rows):
        found = next(
            (name for name in ("win_rate", *run.metrics) if any(r.figures.get(name) for r in table.rows)), None
        )
        if found:
            caveats.append(f"No {figure_name(metric)} was recorded: settings are compared by {figure_name(found)}.")
            metric = found
    splits = run.splits
    reported = next(split for split in ("test", "all", "dev") if split in splits)
    chosen_on = "dev" if "dev" in splits else reported
    if chosen_on == reported:
        half = "dev prompts have no records" if reported != "dev" else "test prompts have no records yet"
        caveats.append(
            f"The {half}: the best setting is chosen and reported on the same prompts, which flatters the luckiest."
        )
    chosen = _chosen(table, metric, chosen_on, reported)
    guided = sorted((row for row in chosen if row.setting.method != "base"), key=_rank(table, metric, chosen_on))
    best = guided[0] if guided else None
    others = [row for row in chosen if row.setting.method == "base"] + guided[1:]
    comparisons = _comparisons(table, metric, best, others) if best else []
    return Answer(
        metric=metric,
        chosen_on=chosen_on,
        reported_on=reported,
        chosen=chosen,
        best=best,
        comparisons=comparisons,
        equal_compute=_equal_compute(table, metric, chosen_on, chosen, best),
        question=_question(table, reported, chosen_on),
        sentence=_sentence(metric, best, comparisons, chosen_on, reported),
        caveats=caveats + _caveats(table),
    )


def _mean(row: Row | None, metric: str) -> float:
    figure = row.figures.get(metric) if row else None
    return figure.mean if figure else float("-inf")


def _rank(table: Table, metric: str, split: str):
    return lambda row: -_mean(table.row(row.setting.id, split) or row, metric)


def _chosen(table: Table, metric: str, chosen_on: str, reported: str) -> list[Row]:
    """Per method the sweep's own choice where it was recorded, else the best on the selection prompts."""
    rank, chosen = _rank(table, metric, chosen_on), {}
    for row in sorted(table.on(reported), key=rank):
        held = chosen.setdefault(row.setting.group, row)
        if row.selected and not held.selected:
            chosen[row.setting.group] = row
    return [row for row in table.on(reported) if chosen[row.setting.group] is row]


def _comparisons(table: Table, metric: str, best: Row, others: list[Row]) -> list[Comparison]:
    found = []
    for other in others:
        if best.figures.get(metric) and other.figures.get(metric):
            found.append((other, table.difference(best.setting.id, other.setting.id, best.split, metric)))
    adjusted = holm([difference.p_value for _, difference in found]) if found else []
    return [Comparison(other, difference, float(p)) for (other, difference), p in zip(found, adjusted, strict=True)]


def _equal_compute(table: Table, metric: str, chosen_on: str, chosen: list[Row], best: Row | None) -> list[Row]:
    if best is None:
        return chosen
    rank, rows = _rank(table, metric, chosen_on), []
    for row in chosen:
        equal = [
            other
            for other in table.on(row.split)
            if other.setting.group == row.setting.group and other.setting.rows == best.setting.rows
        ]
        rows.append(row if row.setting.rows == best.setting.rows or not equal else min(equal, key=rank))
    return rows


def _question(table: Table, reported: str, chosen_on: str) -> str:
    run = table.run
    task = ", ".join(sorted({str(task) for task in run.trials["task"].dropna()})) or "this task"
    settings = run.records["setting"].nunique()
    methods = len({run.settings[setting].group for setting in run.records["setting"].unique()})
    n = len(table.keys[reported])
    seeds = run.records.loc[run.records["split"] == reported, "seed"].nunique()
    where = f"{n} {reported} prompts" if reported != "all" else f"{n} prompts"
    choice = f", chosen on {len(table.keys[chosen_on])} {chosen_on} prompts" if chosen_on != reported else ""
    return (
        f"What does guiding the base model of “{task}” at decoding time buy, and what does it cost? "
        f"{_count(settings, 'setting')} of {_count(methods, 'method')}{choice}, reported on {where} "
        f"with {_count(seeds, 'seed')}."
    )


def _sentence(metric: str, best: Row | None, comparisons: list[Comparison], chosen_on: str, reported: str) -> str:
    if best is None:
        return "No guided setting has records yet, so there is nothing to compare with the base."
    name = figure_name(metric)
    opening = f"{best.setting.label} has the highest {name} on the {chosen_on} prompts"
    base = next((c for c in comparisons if c.other.setting.method == "base"), None)
    runner = next((c for c in comparisons if c.other.setting.method != "base"), None)
    gains = []
    if base:
        gains.append(f"{_gain(base.difference)} over the base")
    if runner:
        gains.append(f"{_gain(runner.difference)} over the runner-up, {runner.other.setting.label}")
    if not gains:
        return f"{opening}; the base has no records on the {reported} prompts to compare it with."
    sentence = f"{opening}; on the {reported} prompts it gains {' and '.join(gains)} (95% intervals)"
    unclear = [c for c in (base, runner) if c and not (c.difference.low > 0 or c.difference.high < 0)]
    if unclear:
        names = " or ".join("the base" if c is base else "the runner-up" for c in unclear)
        sentence += f", which these prompts do not tell apart from {names}"
    passes = best.figures["forward_passes_per_token"]
    cost = base.other.figures["forward_passes_per_token"] if base else None
    if passes and cost:
        sentence += f"; it costs {passes.mean:.1f} forward passes per emitted token against the base’s {cost.mean:.1f}"
    return sentence + "."


def _gain(difference: Difference) -> str:
    return f"{difference.mean:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]".replace("-", "−")


def _caveats(table: Table) -> list[str]:
    said = []
    if any(row.kl_bound for row in table.rows):
        said.append(
            "KL of a search is an upper bound (marked ≤): log N − (N−1)/N for best-of-N, log W + Σ log K over "
            "the chunks for a chunk beam, plus the token part. Without a search it is the exact sum on each path."
        )
    uses = {row.difficulty for row in table.rows} - {None}
    flat = [row for row in table.rows if _flattened(row)]
    if flat:
        said.append(
            f"{_count(len(flat), 'length-controlled rate')} of exactly 50%: on so few prompts AlpacaEval's "
            "cross-validated penalty sets every weight of the model to zero. Read the plain win rate there."
        )
    if False in uses:
        said.append(
            "No published instruction difficulty fits these prompts, their judge and their baseline: length control "
            "leaves that term out."
        )
    said += [f"Not for every setting: {why}." for why in sorted({row.uncontrolled for row in table.rows} - {""})]
    if table.run.missing:
        rows = sum(len(hole.keys) for hole in table.run.missing)
        said.append(
            f"{_count(rows, 'row')} missing (listed under “To repeat it”): figures are over the rows that are there."
        )
    return said


def _flattened(row: Row) -> bool:
    adjusted, plain = row.figures["lc_win_rate"], row.figures["win_rate"]
    return bool(adjusted and plain and adjusted.mean == 50.0 and plain.mean != 50.0)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
