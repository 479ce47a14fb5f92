"""Speculative rejection: best-of-N whose worst rows leave early."""

import math
from dataclasses import dataclass

from guiders.errors import GuiderError
from guiders.search.best_of_n import one_of
from guiders.search.ends import Tokens
from guiders.search.protocol import Boundary, Search, Selection


@dataclass(frozen=True)
class SpeculativeRejection(Search):
    """N responses are begun, and every L tokens the share α of the lowest values is given up, with its memory and its
    compute (Sun et al. 2024, "Fast Best-of-N Decoding via Speculative Rejection", arXiv 2410.20290).

    α = 0 is best-of-N. It returns one of N independent draws, as what the others would have become is never looked at.

    Args:
        n: N. share: α, from 0 to below 1. length: L, in tokens.

    Raises:
        GuiderError: n or length below 1; a share out of range.
    """

    n: int = 16
    share: float = 0.5
    length: int = 16

    def __post_init__(self) -> None:
        for name, value in (("n", self.n), ("length", self.length)):
            if value < 1:
                raise GuiderError(f"speculative rejection: {name}={value} is out of range; it must be 1 or more")
        if not 0 <= self.share < 1:
            raise GuiderError(f"speculative rejection: share={self.share} is out of range; it must be 0 to below 1")

    @property
    def survivors(self) -> int:
        return self.n

    @property
    def ends(self) -> Tokens:
        return Tokens(self.length)

    @property
    def shrinks(self) -> bool:
        return True

    def divergence(self, tokens: int, limit: int) -> float | None:
        return one_of(self.n)

    def select(self, boundary: Boundary) -> Selection:
        """The best rows, in the order of their draws, so that equal values go to the first one at the end."""
        rows = boundary.values.shape[1]
        best = boundary.values.argsort(dim=-1, descending=True, stable=True)[:, : rows - math.floor(rows * self.share)]
        return Selection(best.sort(-1).values)
