"""What was asked, and the answer: chosen on dev, reported on test, compared on the pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.about import judged_by, judged_by_in_full, judges
from reports.choice import Choice, Comparison, choose, is_base
from reports.compute import PASSES, Budgets, at_equal_passes, at_equal_rows
from reports.direction import Directions
from reports.guard import Guard
from reports.headline import cost, sentence, warnings
from reports.missing import sentences
from reports.naming import ARROWS, UNITS, WIN_RATES, counted, digits, figure_name
from reports.table import Row, Table


@dataclass(frozen=True)
class Answer:
    """The report's first lines.

    Attributes:
        metric: the figure that settings are chosen and compared by.
        directions: which way of each figure is better.
        chosen_on, reported_on: the splits.
        chosen: each method's chosen setting, its row on the reported split, the base first.
        best: the guided one of them that ranks first on `chosen_on`, None while there is none with a figure.
        leads: whether `best` is better than the base on the reported prompts.
        comparisons: `best` against each other method's chosen setting, the base first, then by rank on `chosen_on`.
        equal_rows: per method the setting with as many rows per prompt as `best`, else its chosen one.
        equal_passes: each method's best setting under budgets of forward passes, None where all cost the same.
        judges: who judged the win rates, in a few words for the head of a column; "" where nobody did.
        about: (what, text) of the base model, the date and the judges, as far as the run's files say.
        question, sentence, cost: plain text: what was asked, what was found, and what it costs beside the base.
        caveats: what a reader must know before believing it, plain sentences.
    """

    metric: str
    directions: Directions
    chosen_on: str
    reported_on: str
    chosen: list[Row]
    best: Row | None
    leads: bool
    comparisons: list[Comparison]
    equal_rows: list[Row]
    equal_passes: Budgets | None
    judges: str
    about: list[tuple[str, str]]
    question: str
    sentence: str
    cost: str
    caveats: list[str]

    def heading(self, name: str, judged: bool = True) -> str:
        """A figure's name over a column: its unit, which way is better, and (if `judged`) who judged a win rate."""
        text = figure_name(name).replace("length-controlled", "LC")
        text += f" ({UNITS[name]})" if name in UNITS else ""
        way = self.directions.of(name)
        text += f"\N{NO-BREAK SPACE}{ARROWS[way]}" if way else ""
        return f"{text}, by {self.judges}" if judged and name in WIN_RATES and self.judges else text


def answer(table: Table, metric: str = "gold_reward", guards: Sequence[Guard] = ()) -> Answer:
    """Choose on dev, compare on test. Falls back, and says so, where a split or the metric has no records.

    Raises:
        ReportError: a metric that settings can't be ranked by, a guard on a figure that the run has not.
    """
    run, caveats = table.run, []
    if not any(row.figures.get(metric) for row in table.rows):
        usable = [name for name in ("win_rate", *run.metrics) if run.directions.of(name)]
        found = next((name for name in usable if any(r.figures.get(name) for r in table.rows)), None)
        if found:
            caveats.append(f"No {figure_name(metric)} was recorded: settings are compared by {figure_name(found)}.")
            metric = found
    choice = choose(table, metric, guards)
    chosen_on, reported, best = choice.chosen_on, choice.reported_on, choice.best
    if chosen_on == reported:
        half = "dev prompts have no records" if reported != "dev" else "test prompts have no records yet"
        caveats.append(
            f"The {half}: the best setting is chosen and reported on the same prompts, which flatters the luckiest."
        )
    if not run.directions.is_said(metric):
        caveats.append(f"Nothing says which way of {figure_name(metric)} is better: higher is taken, as lm-eval does.")
    if metric == "tokens_per_second":
        caveats.append(
            "Prompts that are decoded together share their time: intervals of the speed are too narrow, and hold for "
            "this machine and this run."
        )
    guided = sorted((row for row in choice.chosen if not is_base(row)), key=lambda row: -choice.merit(choice.dev(row)))
    bases = [row for row in choice.chosen if is_base(row)]
    others = [*bases, *(row for row in guided if row is not best)]
    comparisons = choice.against([(best, other) for other in others]) if best else []
    names = judges(run.records)
    return Answer(
        metric=metric,
        directions=run.directions,
        chosen_on=chosen_on,
        reported_on=reported,
        chosen=choice.chosen,
        best=best,
        leads=any(c.other is choice.base() and choice.is_better(c.difference) for c in comparisons),
        comparisons=comparisons,
        equal_rows=at_equal_rows(choice),
        equal_passes=at_equal_passes(choice),
        judges=" and ".join(judged_by(name, run.metrics) for name in names),
        about=_about(table, names),
        question=_question(table, reported, chosen_on),
        sentence=sentence(choice, comparisons),
        cost=cost(choice),
        caveats=warnings(choice) + caveats + _broken(choice) + _caveats(table),
    )


def _broken(choice: Choice) -> list[str]:
    """The chosen settings that keep a bound, a budget of compute among them, on the prompts that choose and not on the
    reported ones."""
    if choice.chosen_on == choice.reported_on:
        return []
    said = []
    for row in (row for row in choice.chosen if not is_base(row)):
        for guard in choice.guards:
            before, after = choice.dev(row).figures.get(guard.name), row.figures.get(guard.name)
            if before and after and guard.holds(before.mean) and not guard.holds(after.mean):
                what = "is over its budget" if guard.name == PASSES else "breaks its bound"
                said.append(
                    f"{row.setting.label} {what} on the {choice.reported_on} prompts: {figure_name(guard.name)} "
                    f"{guard.sign} {guard.bound:g} was asked, and it is {digits(guard.name, after.mean)} there, "
                    f"{digits(guard.name, before.mean)} on the {choice.chosen_on} prompts that chose it."
                )
    return said


def _about(table: Table, judges: Sequence[str]) -> list[tuple[str, str]]:
    run = table.run
    judged = " and ".join(judged_by_in_full(name, run.metrics, run.about.server) for name in judges)
    said = [("base model", run.about.base), ("decoded on", run.about.date), ("win rates judged by", judged)]
    return [(what, text) for what, text in said if text]


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
        f"{counted(settings, 'setting')} of {counted(methods, 'method')}{choice}, reported on {where} "
        f"with {counted(seeds, 'seed')}."
    )


def _caveats(table: Table) -> list[str]:
    said = []
    if any(row.kl_bound for row in table.rows):
        said.append(
            "KL of a search is an upper bound (marked ≤): log N − (N−1)/N for best-of-N and other "
            "choices of one of N draws, Σ (log K − (K−1)/K) over the chunks for a chunk beam of W = 1, log W + Σ log K "
            "for a wider one (docs/method.md has the others), plus the mean log-ratio of guided "
            "and base probability of what was chosen. Without a search it is the exact sum on each path."
        )
    if any(row.figures["distortion"] for row in table.rows):
        said.append(
            "The distortion of a constraint is an estimate, from the weights of the answers: KL of the base's law "
            "given a valid response to the law that is drawn from, token by token (docs/method.md). It is consistent "
            "in particles and seeds; the fewer there are, the more it is a guess. Responses that the limit cuts count "
            "as valid."
        )
    others = dict.fromkeys(row.setting.group for row in table.rows if table.guides_another(row.setting.id))
    if others:
        said.append(
            f"No KL to the base of {', '.join(others)}: what they guide is another model than the base, and their KL "
            "would be that from it."
        )
    said += [
        f"{row.setting.label}, {row.split}: answers are weighted, and its means are self-normalised estimates over "
        f"each prompt's seeds, of {row.effective:.1f} effective answers out of {row.answers}; length control "
        "leaves them out."
        for row in table.rows
        if row.effective is not None and (row.selected or row.effective < 0.9 * (row.answers or 0))
    ]
    uses = {row.difficulty for row in table.rows} - {None}
    flat = [row for row in table.rows if _flattened(row)]
    if flat:
        said.append(
            f"{counted(len(flat), 'length-controlled rate')} of exactly 50%: on so few prompts AlpacaEval's "
            "cross-validated penalty sets every weight of the model to zero. Read the plain win rate there."
        )
    if False in uses:
        said.append(
            "No published instruction difficulty fits these prompts, their judge and their baseline: length control "
            "leaves that term out."
        )
    said += [f"Not for every setting: {why}." for why in sorted({row.uncontrolled for row in table.rows} - {""})]
    return said + sentences(table.run.missing)


def _flattened(row: Row) -> bool:
    adjusted, plain = row.figures["lc_win_rate"], row.figures["win_rate"]
    return bool(adjusted and plain and adjusted.mean == 50.0 and plain.mean != 50.0)
