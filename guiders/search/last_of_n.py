"""Responses drawn one after the other, of which the last is the answer: for guides that learn from draw to draw."""

from dataclasses import dataclass
from typing import Literal

import torch

from guiders.errors import GuiderError
from guiders.search.ends import Tokens
from guiders.search.protocol import Boundary, Search, Selection


@dataclass(frozen=True)
class LastOfN(Search):
    """N responses to a prompt, each drawn after the one before it has ended; the last is the answer.

    With a guide that remembers nothing of a prompt it is sampling, at N times the cost. `ASAp` learns from each draw
    where the constraint leaves little. What was learned goes with the prompt, so that an answer depends on nothing
    else: not on its batch-mates, and not on a restart.

    Args:
        n: N.

    Raises:
        GuiderError: n below 1.
    """

    n: int = 16

    def __post_init__(self) -> None:
        if self.n < 1:
            raise GuiderError(f"last of N: n={self.n} is out of range; it must be 1 or more")

    @property
    def equal_rows(self) -> bool:
        return False

    @property
    def scores(self) -> Literal["never", "end", "boundary"]:
        return "never"

    @property
    def ends(self) -> Tokens:
        return Tokens(None)

    @property
    def revises(self) -> bool:
        return True

    @property
    def needs_draws(self) -> bool:
        return self.n > 1

    def divergence(self, tokens: int, limit: int) -> float | None:
        """The answer is a draw, given what the guide remembers."""
        return 0.0

    def select(self, boundary: Boundary) -> Selection:
        """All of the last response, nothing of the others."""
        last = boundary.chunks >= self.n
        kept = boundary.lengths.masked_fill(~last[:, None], 0)
        return Selection(torch.zeros_like(boundary.lengths), kept, finished=last)

    def choose(self, boundary: Boundary) -> torch.Tensor:
        """The only one."""
        return torch.zeros_like(boundary.limits)
