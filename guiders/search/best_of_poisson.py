"""Best-of-Poisson: the best of a random number of draws."""

import math
from dataclasses import dataclass
from typing import Literal

import torch

from guiders.errors import GuiderError
from guiders.search.best_of_n import one_of
from guiders.search.one_of_n import drawn
from guiders.search.protocol import Boundary
from guiders.search.sample import Sample

TAIL = 1e-6  # the probability of more draws than there are rows
MOST = 1 << 10  # rows


@dataclass(frozen=True)
class BestOfPoisson(Sample):
    """The best of ``n = 1 + Poisson(μ)`` independent responses (Khalaf et al. 2025, "Inference-Time Reward Hacking in
    Large Language Models", arXiv 2506.19248): close to the tilted law, without its normaliser.

    With a continuous value of which u is the base's quantile, the density is ``(1 + μu) exp(μ(u − 1))``. As many rows
    are decoded as n exceeds with probability 1e-6, and n is at most that; all are counted as forward passes.

    Args:
        mean: μ, of the draws after the first.

    Raises:
        GuiderError: μ below 0, or so large that n needs over 1024 rows.
    """

    mean: float = 15.0

    def __post_init__(self) -> None:
        if not 0 <= self.mean < math.inf:
            raise GuiderError(f"best-of-Poisson: mean={self.mean} is out of range; it must be 0 or more and finite")
        if self.mean > MOST / 2 or self.survivors > MOST:
            raise GuiderError(f"best-of-Poisson: mean={self.mean} needs more than {MOST} rows; set it lower")

    @property
    def probabilities(self) -> list[float]:
        """Of n = 1, 2, …; the last one is of all that are larger as well."""
        found, left = [math.exp(-self.mean)], 1 - math.exp(-self.mean)
        while left > TAIL and len(found) <= MOST:
            more = len(found)
            found.append(math.exp(more * math.log(self.mean) - self.mean - math.lgamma(more + 1)))
            left -= found[-1]
        return [*found[:-1], found[-1] + left]

    @property
    def survivors(self) -> int:
        return len(self.probabilities)

    @property
    def scores(self) -> Literal["never", "end", "boundary"]:
        return "end" if self.survivors > 1 else "never"

    @property
    def needs_draws(self) -> bool:
        return self.survivors > 1

    def choose(self, boundary: Boundary) -> torch.Tensor:
        values, n = boundary.values, self.survivors
        later = torch.ones(n, n, dtype=torch.bool, device=values.device).triu(1)
        best = values[:, None].expand(-1, n, -1).masked_fill(later, -torch.inf).argmax(-1)  # of the first n, for each n
        found = torch.tensor(self.probabilities, dtype=torch.float64, device=values.device).expand_as(best)
        return drawn(torch.zeros_like(found).scatter_add(-1, best, found), boundary)

    def divergence(self, tokens: int, limit: int) -> float | None:
        """The mean of best-of-n's bound over n: KL is convex, and n is drawn apart from the responses."""
        return sum(p * one_of(n) for n, p in enumerate(self.probabilities, 1))
