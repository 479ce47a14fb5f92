"""Rejection sampling that stops: draws are made one after the other, until one is accepted."""

from dataclasses import dataclass
from typing import Literal

import torch

from guiders.errors import GuiderError
from guiders.search.best_of_n import one_of
from guiders.search.ends import Tokens
from guiders.search.one_of_n import check_finite, check_positive
from guiders.search.protocol import Boundary, Search, Selection


@dataclass(frozen=True)
class RejectionInTurn(Search):
    """The law of `Rejection` with a largest value that is known, at the cost of the draws that it takes: on average
    ``(1 − (1 − a)^N) / a`` with a share a accepted, and at least two, which are made side by side.

    A draw is accepted with probability ``min(1, exp((r − most) / β))``; after N without, the best is the answer. That
    costs fewer passes than N draws side by side, and more time where there are few prompts: each waits for the one
    before.

    Args:
        n: N. beta: β. most: the largest value that a response can have.

    Raises:
        GuiderError: n below 2; a β that is not above 0; a `most` that is not a number.
    """

    n: int = 16
    beta: float = 0.5
    most: float = 0.0

    def __post_init__(self) -> None:
        if self.n < 2:
            raise GuiderError(f"rejection in turn: n={self.n} is out of range; it must be 2 or more")
        check_positive("rejection in turn", beta=self.beta)
        check_finite("rejection in turn", most=self.most)

    @property
    def survivors(self) -> int:
        """The best response so far, and the next one."""
        return 2

    @property
    def equal_rows(self) -> bool:
        return False

    @property
    def scores(self) -> Literal["never", "end", "boundary"]:
        return "end"

    @property
    def ends(self) -> Tokens:
        return Tokens(None)

    @property
    def revises(self) -> bool:
        return True

    @property
    def needs_draws(self) -> bool:
        return True

    def divergence(self, tokens: int, limit: int) -> float | None:
        """One of N draws."""
        return one_of(self.n)

    def select(self, boundary: Boundary) -> Selection:
        """The response that is accepted, or the best one beside a new beginning."""
        accepted = boundary.numbers(2) < ((boundary.values - self.most) / self.beta).clamp(max=0).exp()
        accepted[:, 0] &= boundary.chunks == 1  # the best so far has been rejected
        found = accepted.any(-1)
        place = torch.where(found, accepted.long().argmax(-1), boundary.values.argmax(-1))[:, None]
        finished = found | (boundary.chunks + 1 >= self.n)
        whole = boundary.lengths.gather(1, place)
        kept = torch.cat([whole, whole.masked_fill(~finished[:, None], 0)], 1)
        return Selection(place.expand(-1, 2), kept, finished=finished)

    def choose(self, boundary: Boundary) -> torch.Tensor:
        """The first: the other one is the same, or nothing."""
        return torch.zeros_like(boundary.limits)
