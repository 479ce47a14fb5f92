"""Best-of-Poisson: the best of a random number of draws."""

import math
from dataclasses import dataclass

import torch

from guiders.errors import GuiderError
from guiders.search.best_of_n import one_of
from guiders.search.one_of_n import OneOfN


@dataclass(frozen=True)
class BestOfPoisson(OneOfN):
    """The best of the first ``1 + Poisson(μ)`` of N independent responses, or of all N where these are fewer (Khalaf et
    al. 2025, "Inference-Time Reward Hacking in Large Language Models", arXiv 2506.19248).

    For large N and a continuous value of which u is the base's quantile, the density is ``(1 + μu) exp(μ(u − 1))``,
    close to the tilted law's. All N rows are decoded, and counted as forward passes.

    Args:
        n: N. mean: μ, of the draws after the first.

    Raises:
        GuiderError: n below 1; a μ below 0 or not finite.
    """

    mean: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.mean < math.inf:
            raise GuiderError(f"best-of-Poisson: mean={self.mean} is out of range; it must be 0 or more and finite")

    @property
    def probabilities(self) -> list[float]:
        """Of looking at 1, 2, …, N draws; the last one is of all larger numbers as well."""
        rate = math.log(self.mean) if self.mean else -math.inf
        found = [math.exp((k * rate if k else 0.0) - self.mean - math.lgamma(k + 1)) for k in range(self.n - 1)]
        return [*found, max(0.0, 1 - math.fsum(found))]

    def shares(self, values: torch.Tensor) -> torch.Tensor:
        later = torch.ones(self.n, self.n, dtype=torch.bool, device=values.device).triu(1)
        best = values[..., None, :].expand(*values.shape[:-1], self.n, -1).masked_fill(later, -torch.inf).argmax(-1)
        found = torch.tensor(self.probabilities, dtype=torch.float64, device=values.device).expand_as(best)
        return torch.zeros_like(found).scatter_add(-1, best, found)

    def divergence(self, tokens: int, limit: int) -> float | None:
        """The mean of best-of-n's bound over n: KL is convex, and n is drawn apart from the responses."""
        return sum(p * one_of(n) for n, p in enumerate(self.probabilities, 1))
