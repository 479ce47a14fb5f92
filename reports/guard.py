"""A bound that a setting must keep to be chosen: "fluency>=0.8"."""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from reports.errors import ReportError

SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
FORM = re.compile(r"\s*(?P<name>[^\s<>=]+)\s*(?P<sign>>=|<=|>|<)\s*(?P<bound>[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?)\s*")


@dataclass(frozen=True)
class Guard:
    """A bound on the mean of a figure."""

    name: str
    sign: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> "Guard":
        """Read "NAME>=NUMBER", with >=, <=, > or <.

        Raises:
            ReportError: it is written differently.
        """
        match = FORM.fullmatch(text)
        if match is None:
            raise ReportError(f"{text!r} is no bound: write NAME>=NUMBER or NAME<=NUMBER, as fluency>=0.8 or kl<=20")
        return cls(match["name"], match["sign"], float(match["bound"]))

    @classmethod
    def of_budget(cls, text: str) -> "Guard":
        """Read "passes:NUMBER": at most so many forward passes per emitted token, on average.

        Raises:
            ReportError: it is written differently, or the number is not above 0.
        """
        unit, _, number = text.partition(":")
        found = FORM.fullmatch(f"forward_passes_per_token<={number}")
        if unit != "passes" or found is None or not float(found["bound"]) > 0:
            raise ReportError(f"{text!r} is no budget: write passes:NUMBER, as passes:32 (forward passes per token)")
        return cls(found["name"], found["sign"], float(found["bound"]))

    def holds(self, value: float) -> bool:
        return SIGNS[self.sign](value, self.bound)

    def __str__(self) -> str:
        return f"{self.name}{self.sign}{self.bound:g}"
