"""The report's first sentences: what was found, what it costs, and what must be known before it is believed."""

from reports.bootstrap import Difference
from reports.choice import Choice, Comparison, is_base, keeps
from reports.naming import counted, digits, figure_name
from reports.table import Row

FLUENCY = "fluency"
UNREADABLE = 0.5  # of the base's fluency
LEVEL = 0.05


def sentence(choice: Choice, comparisons: list[Comparison]) -> str:
    """What was found, and what must be known to believe it.

    Args:
        comparisons: the best setting against each other method's, the base first.
    """
    best, base = choice.best, choice.base()
    if best is None:
        return _nothing(choice)
    to_base = next((c for c in comparisons if c.other is base), None)
    runner = next((c for c in comparisons if not is_base(c.other)), None)
    if to_base is None:
        lacking = f"the base has no records on the {choice.reported_on} prompts to compare it with"
        found = f"{_opening(choice, best)}; {lacking}."
    elif choice.is_better(to_base.difference):
        found = _gain(choice, best, to_base, runner)
    else:
        found = _no_gain(choice, best, to_base)
    more = (unreadable(choice, best), edge(choice, best), _broken_guard(choice, best))
    return " ".join([found, *(f"{text}." for text in more if text)])


def warnings(choice: Choice) -> list[str]:
    """What must be said of the other methods' chosen settings, and of the methods without one."""
    said = []
    for row in choice.chosen:
        if row is not choice.best and not is_base(row):
            texts = [text for text in (unreadable(choice, row), edge(choice, row)) if text]
            said += [f"{row.setting.label}: {text[0].lower()}{text[1:]}." for text in texts]
    rows = [row for row in choice.table.on(choice.chosen_on) if not is_base(row)]
    kept = {row.setting.group for row in rows if keeps(row, choice.guards)}
    out = [group for group in dict.fromkeys(row.setting.group for row in rows) if group not in kept]
    if out:
        on = f"{_guards(choice)} on the {choice.chosen_on} prompts"
        said.append(f"Left out, as none of its settings satisfies {on}: {', '.join(out)}.")
    absent = kept - {row.setting.group for row in choice.chosen}
    if absent and choice.guards:
        why = f"what satisfies {_guards(choice)} of it did not run on the {choice.reported_on} prompts"
        said.append(f"Left out, as {why}: {', '.join(sorted(absent))}.")
    return said


def unreadable(choice: Choice, row: Row) -> str:
    """ "Unreadable: fluency fell from 0.85 to 0.24" where it fell below half of the base's, else ""."""
    base = choice.base()
    before, after = (one.figures.get(FLUENCY) if one else None for one in (base, row))
    if not (base and before and after) or choice.table.run.directions.of(FLUENCY) != "higher":
        return ""
    gap = choice.table.difference(row.setting.id, base.setting.id, row.split, FLUENCY)
    if after.mean >= UNREADABLE * before.mean or gap.high >= 0:
        return ""
    return f"Unreadable: fluency fell from {digits(FLUENCY, before.mean)} to {digits(FLUENCY, after.mean)}"


def edge(choice: Choice, row: Row) -> str:
    """Where the setting has the first or last value of an axis, and is better there than its neighbour on the axis.

    The neighbour is the next value with all other axes equal; the two are told apart on the prompts that choose.
    """
    dev, found = choice.dev(row), []
    for axis, value in dev.setting.axes.items():
        rest = {name: other for name, other in dev.setting.axes.items() if name != axis}
        line = {
            mate.setting.axes[axis]: mate
            for mate in choice.table.on(dev.split)
            if mate.setting.group == dev.setting.group
            and mate.figures.get(choice.metric)
            and {name: other for name, other in mate.setting.axes.items() if name != axis} == rest
        }
        values = [one for one in line if isinstance(one, (int, float)) and not isinstance(one, bool)]
        if len(values) != len(line) or len(values) < 2 or value not in (min(values), max(values)):
            continue
        last = value == max(values)
        neighbour = line[sorted(values)[-2 if last else 1]]
        gap = choice.table.difference(dev.setting.id, neighbour.setting.id, dev.split, choice.metric)
        if choice.is_better(gap):
            found.append(f"{axis.rpartition('.')[2]} {value:g}, the {'largest' if last else 'smallest'} tried")
    if not found:
        return ""
    still = "rising" if choice.sign > 0 else "falling"
    return f"At the edge of the grid ({'; '.join(found)}), still {still} on the {dev.split} prompts: try further"


def _nothing(choice: Choice) -> str:
    guided = [row for row in choice.table.rows if not is_base(row)]
    if not guided:
        return "No guided setting has records yet, so there is nothing to compare with the base."
    if choice.guards and not any(keeps(row, choice.guards) for row in guided if row.split == choice.chosen_on):
        return f"No guided setting satisfies {_guards(choice)} on the {choice.chosen_on} prompts."
    return f"No guided setting has a finite {figure_name(choice.metric)}, so there is nothing to compare with the base."


def _opening(choice: Choice, best: Row) -> str:
    """The best setting's place among all that ran on the prompts that choose, the base and the unchosen included."""
    rows = choice.table.on(choice.chosen_on)
    mine = choice.merit(choice.dev(best))
    above = [row for row in rows if choice.merit(row) > mine]
    equal = [row for row in rows if choice.merit(row) == mine and row.setting.id != best.setting.id]
    if not above:
        among = counted(len(rows), "setting")
    elif all(is_base(row) for row in above):
        among = "the guided settings"
    elif choice.guards and not any(keeps(row, choice.guards) for row in above if not is_base(row)):
        among = f"the settings that satisfy {_guards(choice)}"
    else:
        among = f"the settings that ran on the {choice.reported_on} prompts"
    has, extreme = "shares" if equal else "has", "highest" if choice.sign > 0 else "lowest"
    name = figure_name(choice.metric)
    return f"{best.setting.label} {has} the {extreme} {name} of {among} on the {choice.chosen_on} prompts"


def _gain(choice: Choice, best: Row, to_base: Comparison, runner: Comparison | None) -> str:
    gap = _gap(choice, to_base.difference, "the base’s")
    its = f"its {figure_name(choice.metric)} is"
    said = f"{_opening(choice, best)}; on the {choice.reported_on} prompts {its} {gap} (95% interval)."
    if runner is None:
        return said
    whose = f"that of the runner-up, {runner.other.setting.label}"
    return f"{said} There it is {_gap(choice, runner.difference, whose)}."


def _no_gain(choice: Choice, best: Row, to_base: Comparison) -> str:
    """The best on dev does not beat the base on the reported prompts; another method's choice may, after Holm."""
    name, on = figure_name(choice.metric), f"on the {choice.reported_on} prompts"
    gap = _gap(choice, to_base.difference, "the base’s")
    all_of_them = choice.against([(row, to_base.other) for row in choice.chosen if not is_base(row)])
    beating = [c for c in all_of_them if choice.is_better(c.difference) and c.p_holm < LEVEL]
    if beating:
        others = "; ".join(f"{c.setting.setting.label}, {_gap(choice, c.difference, 'the base’s')}" for c in beating)
        after = f"Better {on}, though not the choice of the {choice.chosen_on} prompts: {others} (95% intervals)."
        return f"{_opening(choice, best)}, but does not beat the base: {on} its {name} is {gap}. {after}"
    which = f"{best.setting.label}, the first of them on the {choice.chosen_on} prompts,"
    return f"No guided setting beats the base in {name}: that of {which} is {gap} {on} (95% interval)."


def _gap(choice: Choice, difference: Difference, whose: str) -> str:
    """ "3.88 [3.59, 4.14] higher than the base's", or "tied with the base's" where the interval holds zero."""
    mean, low, high = (digits(choice.metric, x) for x in (difference.mean, difference.low, difference.high))
    if difference.low <= 0 <= difference.high:
        sign = "+" if difference.mean > 0 else ""
        return f"tied with {whose} (not told apart: {sign}{mean} [{low}, {high}])"
    if difference.mean > 0:
        return f"{mean} [{low}, {high}] higher than {whose}"
    mean, low, high = (digits(choice.metric, -x) for x in (difference.mean, difference.high, difference.low))
    return f"{mean} [{low}, {high}] lower than {whose}"


def cost(choice: Choice) -> str:
    """What the best setting costs, beside the base: forward passes, speed and fluency; "" where there is none."""
    best, base = choice.best, choice.base()
    if best is None or base is None:
        return ""

    def pair(name: str) -> tuple[float, float] | None:
        ours, theirs = best.figures.get(name), base.figures.get(name)
        return (ours.mean, theirs.mean) if ours and theirs and name != choice.metric else None

    parts, text = [], ""
    if passes := pair("forward_passes_per_token"):
        parts.append(f"costs {passes[0]:.1f} forward passes per emitted token against the base’s {passes[1]:.1f}")
    if (speed := pair("tokens_per_second")) and speed[1] > 0:
        ours, theirs = (digits("tokens_per_second", one) for one in speed)
        share = 100 * speed[0] / speed[1]
        percent = f"{share:.0f}%" if share >= 10 else f"{share:.2g}%"
        parts.append(f"decodes at {percent} of its speed ({ours} against {theirs} tokens/s)")
    if (fluency := pair(FLUENCY)) and not unreadable(choice, best):
        gap = choice.table.difference(best.setting.id, base.setting.id, best.split, FLUENCY)
        ours, theirs = (digits(FLUENCY, one) for one in fluency)
        moved = "rises" if gap.low > 0 else "falls" if gap.high < 0 else ""
        alike = f"its fluency of {ours} is not told apart from the base’s {theirs}"
        text = f"its fluency {moved} from {theirs} to {ours}" if moved else alike
    costs = f"it {' and '.join(parts)}" if parts else ""
    said = "; ".join(filter(None, [costs, text]))
    return f"{said[0].upper()}{said[1:]}." if said else ""


def _broken_guard(choice: Choice, best: Row) -> str:
    broken = [guard for guard in choice.guards if not keeps(best, [guard])]
    if not broken:
        return ""
    figures = [(guard, best.figures.get(guard.name)) for guard in broken]
    texts = [f"{guard} ({digits(guard.name, figure.mean) if figure else 'not measured'})" for guard, figure in figures]
    return f"On the {best.split} prompts it does not satisfy {', '.join(texts)}"


def _guards(choice: Choice) -> str:
    return " and ".join(map(str, choice.guards))
