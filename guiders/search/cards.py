"""Cascade reward sampling: segments that end where the base is uncertain, each by rejection."""

import math
from dataclasses import dataclass

import torch

from guiders.errors import GuiderError
from guiders.search.best_of_n import one_of
from guiders.search.ends import Entropy
from guiders.search.one_of_n import check_finite, check_positive, drawn
from guiders.search.protocol import Boundary, Search, Selection
from guiders.search.rejection import first_accepted


@dataclass(frozen=True)
class CARDS(Search):
    """Of K segments the first that is accepted goes on, and the best where none is (CARDS; Li et al. 2025, "Cascade
    Reward Sampling for Efficient Decoding-Time Alignment", arXiv 2406.16306).

    A segment of `least` to `most` tokens ends before a token of which the base's entropy is at least `threshold` nats.
    After t of T tokens it is accepted with probability ``min(1, exp((r − τ)/β))``, ``τ = min(r*, r₀ + t (r* − r₀)/T)``.
    The authors draw segments one after the other, and stop at the one that is accepted; here all K are drawn side by
    side: the law is the same, and the passes are those of K, which are counted. (To draw in turn, the best segment so
    far would have to wait while others are drawn, and no boundary holds back a row that is not over.) They take
    r₀ = (r(x) + r*) / 2, with the reward of the prompt alone, which no value here gives.

    Args:
        successors: K. beta: β. target: r*. start: r₀; None: r*. threshold, least, most: see `Entropy`.

    Raises:
        GuiderError: a setting out of range.
    """

    successors: int = 4
    beta: float = 0.7
    target: float = 8.5
    start: float | None = None
    threshold: float = 3.0
    least: int = 4
    most: int = 64

    def __post_init__(self) -> None:
        if self.successors < 1:
            raise GuiderError(f"CARDS: successors={self.successors} is out of range; it must be 1 or more")
        check_positive("CARDS", beta=self.beta)
        check_finite("CARDS", target=self.target, start=self.start)
        _ = self.ends  # which checks the others

    @property
    def ends(self) -> Entropy:
        return Entropy(self.threshold, self.least, self.most)

    @property
    def needs_draws(self) -> bool:
        return self.successors > 1

    def divergence(self, tokens: int, limit: int) -> float | None:
        """A chunk is one of K draws, and has `least` tokens or more, or is the last one."""
        return math.ceil(tokens / self.least) * one_of(self.successors)

    def select(self, boundary: Boundary) -> Selection:
        start = self.target if self.start is None else self.start
        level = start + (self.target - start) * boundary.lengths / boundary.limits[:, None]
        values = boundary.values.masked_fill(~boundary.valid, -torch.inf)
        return Selection(drawn(first_accepted(values, level.clamp(max=self.target), self.beta), boundary)[:, None])
