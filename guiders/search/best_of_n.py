"""Best-of-N: draw N whole responses, keep the one of the highest value."""

import math
from dataclasses import dataclass
from typing import Literal

from guiders.errors import GuiderError
from guiders.search.sample import Sample


@dataclass(frozen=True)
class BestOfN(Sample):
    """Keep the best of `n` independent responses, each scored once, when it is over. Equal values go to the first.

    Raises:
        GuiderError: n below 1.
    """

    n: int = 16

    def __post_init__(self) -> None:
        if self.n < 1:
            raise GuiderError(f"best-of-N: n={self.n} is out of range; it must be 1 or more")

    @property
    def survivors(self) -> int:
        return self.n

    @property
    def scores(self) -> Literal["never", "end", "boundary"]:
        return "end" if self.n > 1 else "never"

    def divergence(self, tokens: int, limit: int) -> float | None:
        return one_of(self.n)


def one_of(n: int) -> float:
    """log N − (N−1)/N, in nats: bounds KL(rule ‖ π) of any rule that returns one of N independent draws from π.

    Beirami et al. 2024, "Theoretical guarantees on the best-of-n alignment policy", for the rule that takes the best;
    docs/method.md has the proof for any rule.
    """
    return math.log(n) - (n - 1) / n
