"""Which way of a figure is better: the task says it of its own scores, this file of what the harness measures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Way = Literal["higher", "lower"]

# The divergence and the forward passes are costs; a length is neither good nor bad, and proxy values of two methods
# lie on different scales.
MEASURED: dict[str, Way | None] = {
    "win_rate": "higher",
    "lc_win_rate": "higher",
    "tokens_per_second": "higher",
    "kl": "lower",
    "distortion": "lower",
    "forward_passes": "lower",
    "forward_passes_per_token": "lower",
    "computed_passes": "lower",
    "computed_passes_per_token": "lower",
    "length": None,
    "n_tokens": None,
    "value": None,
}
NAMED: dict[str, Way] = {"gold_reward": "higher", "fluency": "higher"}


@dataclass(frozen=True)
class Directions:
    """Which way of each figure is better.

    Attributes:
        higher_is_better: metric -> what the task's `metric_list` says of it.
        noted: what token guides note of their responses, as the share of tokens that they wrote: neither way is better.
    """

    higher_is_better: Mapping[str, bool] = field(default_factory=dict)
    noted: frozenset[str] = frozenset()

    def of(self, name: str) -> Way | None:
        """ "higher", "lower", or None where neither is better. What nobody says is "higher", lm-eval's default."""
        if name in MEASURED:
            return MEASURED[name]
        if name in self.higher_is_better:
            return "higher" if self.higher_is_better[name] else "lower"
        return None if name in self.noted else NAMED.get(name, "higher")

    def sign(self, name: str) -> float:
        """What a figure is multiplied by so that more is better: -1 for "lower", else 1."""
        return -1.0 if self.of(name) == "lower" else 1.0

    def is_said(self, name: str) -> bool:
        """Whether the direction is known, and not lm-eval's default."""
        return name in MEASURED or name in self.higher_is_better or name in NAMED or name in self.noted
