"""Which settings are compared: each method's choice on dev, the best guided one, and how it differs from the others."""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.bootstrap import Difference
from reports.errors import ReportError
from reports.family import holm
from reports.guard import Guard
from reports.naming import WIN_RATES, figure_name
from reports.table import EVEN, Row, Table


@dataclass(frozen=True)
class Comparison:
    """A setting minus another on the reported prompts; `p_holm` is corrected over its family of comparisons."""

    setting: Row
    other: Row
    difference: Difference
    p_holm: float


@dataclass(frozen=True)
class Choice:
    """What was chosen, by which figure and on which prompts.

    Attributes:
        table: what it was chosen from.
        metric: the figure that settings are ranked by; its direction is the run's.
        guards: bounds that a setting keeps on `chosen_on` to be chosen.
        chosen_on, reported_on: the splits.
        chosen: each method's chosen setting, its row on the reported split, in the table's order: the base first.
        best: the guided one of them that ranks first on `chosen_on`, None while there is none with a figure.
    """

    table: Table
    metric: str
    guards: tuple[Guard, ...]
    chosen_on: str
    reported_on: str
    chosen: list[Row]
    best: Row | None

    @property
    def sign(self) -> float:
        return self.table.run.directions.sign(self.metric)

    def dev(self, row: Row) -> Row:
        """The row of the same setting on the prompts that choose."""
        return self.table.row(row.setting.id, self.chosen_on) or row

    def merit(self, row: Row) -> float:
        """What settings rank by: the figure, negated where lower is better; the base's win rate is 50."""
        return _merit(row, self.metric, self.sign)

    def base(self) -> Row | None:
        """The base on the reported prompts; of several runs, the best setting's own."""
        bases = [row for row in self.chosen if is_base(row)]
        own = [row for row in bases if self.best and row.setting.run == self.best.setting.run]
        return next(iter(own or bases), None)

    def is_better(self, difference: Difference) -> bool:
        """Whether the interval lies on the better side of zero."""
        return min(self.sign * difference.low, self.sign * difference.high) > 0

    def is_worse(self, difference: Difference) -> bool:
        return max(self.sign * difference.low, self.sign * difference.high) < 0

    def against(self, pairs: Sequence[tuple[Row, Row]]) -> list[Comparison]:
        """Paired differences on the reported prompts, Holm over them all; pairs without figures are left out."""
        found: list[tuple[Row, Row, Difference]] = []
        for setting, other in pairs:
            if _is_measured(setting, self.metric) and _is_measured(other, self.metric):
                gap = self.table.difference(setting.setting.id, other.setting.id, setting.split, self.metric)
                found.append((setting, other, gap))
        adjusted = list(holm([gap.p_value for *_, gap in found])) if found else []
        return [Comparison(*one, float(p)) for one, p in zip(found, adjusted, strict=True)]


def is_base(row: Row) -> bool:
    return row.setting.method == "base"


def choose(table: Table, metric: str, guards: Sequence[Guard] = ()) -> Choice:
    """Choose on dev where it has records, else on the reported prompts themselves.

    Raises:
        ReportError: neither way of the metric is better, or a guard on a figure that the run has not.
    """
    run = table.run
    if run.directions.of(metric) is None:
        why = f"neither way of {figure_name(metric)} is better, so settings can't be ranked by it"
        raise ReportError(f"metric={metric}: {why}; choose another")
    for guard in guards:
        if not any(row.figures.get(guard.name) for row in table.rows):
            known = ", ".join(name for name in table.rows[0].figures if any(row.figures[name] for row in table.rows))
            raise ReportError(f"guard {guard}: the run has no such figure; it has {known}")
    splits = run.splits
    reported = next(split for split in ("test", "all", "dev") if split in splits)
    chosen_on = "dev" if "dev" in splits else reported
    sign = run.directions.sign(metric)
    chosen: dict[str, Row] = {}

    def dev(row: Row) -> Row:
        return table.row(row.setting.id, chosen_on) or row

    ranked = sorted(table.on(reported), key=lambda row: -_merit(dev(row), metric, sign))
    for row in ranked:
        if is_base(row) or keeps(dev(row), guards):
            held = chosen.setdefault(row.setting.group, row)
            if row.selected and not held.selected:  # the sweep's own choice, where it was recorded
                chosen[row.setting.group] = row
    guided = [row for row in ranked if chosen.get(row.setting.group) is row and not is_base(row)]
    measured = [row for row in guided if _is_measured(row, metric) and _is_measured(dev(row), metric)]
    return Choice(
        table=table,
        metric=metric,
        guards=tuple(guards),
        chosen_on=chosen_on,
        reported_on=reported,
        chosen=[row for row in table.on(reported) if chosen.get(row.setting.group) is row],
        best=measured[0] if measured else None,
    )


def keeps(row: Row, guards: Sequence[Guard]) -> bool:
    """Whether a row's means keep every guard; a figure that it lacks keeps none."""
    return all((figure := row.figures.get(guard.name)) and guard.holds(figure.mean) for guard in guards)


def _is_measured(row: Row, metric: str) -> bool:
    return bool(row.figures.get(metric)) or (is_base(row) and metric in WIN_RATES)


def _merit(row: Row, metric: str, sign: float) -> float:
    figure = row.figures.get(metric)
    if figure:
        return sign * figure.mean
    return EVEN if is_base(row) and metric in WIN_RATES else float("-inf")
