"""Two runs of the same models, record by record: what differs, how often, and whether that is little enough.

Two versions of the code that decode the same models on the same machine draw the same random numbers, so that their
records are equal but for the times. Rounding may flip a token once in a while; more is another result.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reports.gate.statistics import GateResult, GateRow

ROUNDING = 1e-4  # relative, or absolute below 1: beyond what float32 sums differ by in another order
TIMES = {"seconds"}
TEXT = "response"  # a record's other fields follow from its text
EXIT_CODES = {"pass": 0, "regression": 1, "inconclusive": 4, "changed": 5}
Rows = Mapping[tuple[str, int, str], Mapping[str, Any]]


@dataclass(frozen=True)
class RecordDifference:
    """How one setting's records differ.

    Attributes:
        records: that both runs have. differ: of these, beyond rounding; rounding: by rounding only.
        unmeant: of those that differ, the ones in which something differs that nobody has accepted.
        fields: field -> records in which it differs beyond rounding. first: (split, seed, prompt key) of the first.
        lost, added: records that only the earlier, or only the later, run has.
        accepted: fields whose difference is meant. meant: why, as whoever accepted it has written.
    """

    setting: str
    records: int
    differ: int
    rounding: int
    unmeant: int
    fields: dict[str, int]
    first: tuple[str, int, str] | None
    lost: int
    added: int
    accepted: frozenset[str] = frozenset()
    meant: tuple[str, ...] = ()

    def is_small(self, share: float) -> bool:
        """Whether nothing is lost and at most a share of the records differs in what nobody has accepted."""
        lost = self.lost and "records" not in self.accepted
        return not lost and self.unmeant <= share * self.records


@dataclass(frozen=True)
class SameModels:
    """The differences of every setting that either run has, and the paired figures of those that differ.

    Attributes:
        share: of a setting's records that may differ.
        figures: of the gate on tight tolerances, None where nothing differs.
    """

    differences: tuple[RecordDifference, ...]
    share: float
    figures: GateResult | None = None

    @property
    def rows(self) -> tuple[GateRow, ...]:
        """The figures of the settings that differ; "accepted" is the verdict of those that are meant to move."""
        changed = {one.setting: one for one in self.differences if one.differ or one.lost}
        rows = self.figures.rows if self.figures else ()
        return tuple(_held(row, changed[row.setting].accepted) for row in rows if row.setting in changed)

    @property
    def verdict(self) -> str:
        """ "regression" where a figure's loss exceeds its tolerance, else "changed" where more differs than rounding
        explains, else "inconclusive" where a figure is too noisy to tell, else "pass"."""
        verdicts = {row.verdict for row in self.rows}
        if "regression" in verdicts:
            return "regression"
        if not all(one.is_small(self.share) for one in self.differences):
            return "changed"
        return "inconclusive" if "inconclusive" in verdicts else "pass"

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]


def record_difference(
    setting: str, before: Rows, after: Rows, accepted: Collection[str] = (), meant: Sequence[str] = ()
) -> RecordDifference:
    """Compare the records of one setting in two runs.

    Args:
        before, after: (split, seed, prompt key) -> {field: value}: the record's fields, scores and preference.
        accepted: fields that may differ; "response": whatever follows from another text may, too.
        meant: the reasons for that.
    """
    both = [place for place in before if place in after]
    fields: Counter[str] = Counter()
    differ = rounding = unmeant = 0
    first = None
    for place in both:
        beyond, near = differing(before[place], after[place])
        if not beyond:
            rounding += bool(near)
            continue
        differ += 1
        first = first or place
        fields.update(beyond)
        unmeant += bool(beyond - set(accepted)) and not (TEXT in beyond and TEXT in accepted)
    return RecordDifference(
        setting=setting,
        records=len(both),
        differ=differ,
        rounding=rounding,
        unmeant=unmeant,
        fields=dict(fields.most_common()),
        first=first,
        lost=len(before) - len(both),
        added=len(after) - len(both),
        accepted=frozenset(accepted),
        meant=tuple(meant),
    )


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """The fields of `before` that differ in `after` beyond rounding, and by rounding only. Times do not count, nor what
    `before` does not have."""
    beyond: set[str] = set()
    near: set[str] = set()
    for name, value in before.items():
        if name in TIMES or (name in after and _equal(value, after[name])):
            continue
        (near if name in after and _close(value, after[name]) else beyond).add(name)
    return beyond, near


def _equal(one: Any, other: Any) -> bool:
    return one == other or (one != one and other != other)


def _close(one: Any, other: Any) -> bool:
    # two integers are counts, which no rounding moves
    numbers = {type(one), type(other)} <= {int, float} and float in (type(one), type(other))
    return numbers and math.isclose(one, other, rel_tol=ROUNDING, abs_tol=ROUNDING)


def _held(row: GateRow, accepted: frozenset[str]) -> GateRow:
    """Where another text is meant, its figures may be too noisy to tell, but not worse."""
    figure = row.metric.partition(" ")[0]
    if row.verdict != "pass" and (figure in accepted or (row.verdict == "inconclusive" and TEXT in accepted)):
        return replace(row, verdict="accepted", more_prompts=None)
    return row
