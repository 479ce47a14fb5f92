"""Methods at one cost: with equal rows of the batch, and under equal budgets of forward passes."""

from dataclasses import dataclass

from reports.choice import Choice, is_base, keeps
from reports.table import Row

PASSES = "forward_passes_per_token"
NEAR = 1.1  # budgets that differ by less are one
MOST = 6  # budgets of one table


@dataclass(frozen=True)
class Spent:
    """A method's best setting under a budget, and how it stands there: "best", "tied" with the best, or ""."""

    row: Row
    mark: str


@dataclass(frozen=True)
class Budgets:
    """Each method's best setting under rising budgets.

    Attributes:
        split: the prompts, those that settings are chosen on: every setting ran there.
        passes: the budgets, forward passes per emitted token at most.
        lines: (method, its setting under each budget or None where all of its settings cost more).
    """

    split: str
    passes: list[float]
    lines: list[tuple[str, list[Spent | None]]]


def at_equal_rows(choice: Choice) -> list[Row]:
    """Per method the best setting with as many rows of the batch per prompt as the best one, else its chosen one."""
    best = choice.best
    if best is None:
        return choice.chosen
    rows = []
    for row in choice.chosen:
        equal = [
            other
            for other in choice.table.on(row.split)
            if other.setting.group == row.setting.group and other.setting.rows == best.setting.rows
        ]
        same = row.setting.rows == best.setting.rows or not equal
        rows.append(row if same else max(equal, key=lambda other: choice.merit(choice.dev(other))))
    return rows


def at_equal_passes(choice: Choice) -> Budgets | None:
    """Every method under the budgets that the chosen settings spend; None where all cost the same, or none is known.

    Of many budgets, six are taken. A budget is a bound: a method's best setting need not spend it, and the base, which
    can't, is under every one.
    """
    wanted = (PASSES, choice.metric)
    rows = [row for row in choice.table.on(choice.chosen_on) if all(row.figures.get(name) for name in wanted)]
    rows = [row for row in rows if is_base(row) or keeps(row, choice.guards)]
    chosen = {row.setting.id for row in choice.chosen if not is_base(row)}
    spent = sorted((passes(row) for row in rows if row.setting.id in chosen), reverse=True)
    budgets: list[float] = []
    for one in spent:
        if not budgets or one * NEAR < budgets[-1]:
            budgets.append(one)
    budgets = _some(budgets[::-1])
    methods = list(dict.fromkeys(row.setting.group for row in rows))
    if len(budgets) < 2 or choice.metric == PASSES:
        return None
    columns = [_column(choice, [row for row in rows if passes(row) <= budget], methods) for budget in budgets]
    lines = [(method, [column[place] for column in columns]) for place, method in enumerate(methods)]
    return Budgets(choice.chosen_on, budgets, lines)


def _some(budgets: list[float]) -> list[float]:
    """At most so many as a table holds, evenly by rank, the least and the largest among them."""
    if len(budgets) <= MOST:
        return budgets
    return [budgets[round(place * (len(budgets) - 1) / (MOST - 1))] for place in range(MOST)]


def passes(row: Row) -> float:
    """Forward passes per emitted token."""
    figure = row.figures[PASSES]
    return figure.mean if figure else float("inf")


def _column(choice: Choice, affordable: list[Row], methods: list[str]) -> list[Spent | None]:
    best_of = {
        method: max((row for row in affordable if row.setting.group == method), key=choice.merit, default=None)
        for method in methods
    }
    first = max((row for row in best_of.values() if row), key=choice.merit)

    def mark(row: Row) -> str:
        if row is first:
            return "best"
        gap = choice.table.difference(first.setting.id, row.setting.id, row.split, choice.metric)
        return "" if choice.is_better(gap) else "tied"

    return [Spent(row, mark(row)) if row else None for row in best_of.values()]
