"""Best-of-N: draw N whole responses, keep the one of the highest value."""

import math
from dataclasses import dataclass

from guiders.errors import GuiderError
from guiders.search.sample import Sample


@dataclass(frozen=True)
class BestOfN(Sample):
    """Keep the best of `n` independent responses.

    Raises:
        GuiderError: n below 1.
    """

    n: int = 16

    def __post_init__(self):
        if self.n < 1:
            raise GuiderError(f"best-of-N: n={self.n} is out of range; it must be 1 or more")

    @property
    def survivors(self) -> int:
        return self.n

    def divergence(self, chunks: int) -> float:
        """log N − (N−1)/N, an upper bound.

        Beirami et al. 2024, "Theoretical guarantees on the best-of-n alignment policy".
        """
        return math.log(self.n) - (self.n - 1) / self.n
