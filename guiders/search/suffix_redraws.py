"""A Markov chain of whole responses: a suffix is drawn again, and kept by the Metropolis–Hastings rule."""

import math
from dataclasses import dataclass
from typing import Literal

import torch

from guiders.errors import GuiderError
from guiders.search.ends import Tokens
from guiders.search.protocol import Boundary, Search, Selection


@dataclass(frozen=True)
class SuffixRedraws(Search):
    """Metropolis–Hastings towards ``σ(y) ∝ π(y) e^{r(y)/β}``, with r the value of a whole response.

    From the response x a place is drawn uniformly among its |x| tokens, and what follows it anew from the guided
    distribution π_g. The response y that this gives is accepted with probability

        min(1, e^{(r(y) − r(x))/β} · (π/π_g)(y) / (π/π_g)(x) · |x|/|y|),

    where π/π_g is 1 without a token guide. The length ratio is there as a place of y is drawn with probability 1/|y|:
    without it, σ is not the chain's stationary law. The first two responses are independent draws, and need none.

    - QAlign (Faria et al. 2025, "Sample, Don't Search", arXiv 2504.03790): r a reward.
    - Power sampling (Karan and Du 2026, "Reasoning with Sampling", arXiv 2510.14901): the target ``p^α`` is r = log p,
      that is `Likelihood` of the base, with β = 1/(α − 1), at sampling temperature 1. The guide `Implicit` of the base
      itself with weight α − 1 draws at temperature 1/α, as the authors do. (They grow the response by blocks.)

    π is the base at the sampling temperature. The chain's law tends to σ as `steps` grow; no bound of its divergence is
    known here.

    Args:
        steps: responses that are proposed. beta: β.

    Raises:
        GuiderError: a setting out of range. While decoding: temperature 0.
    """

    steps: int = 16
    beta: float = 1.0

    def __post_init__(self) -> None:
        for name, fine, must in (
            ("steps", self.steps >= 1, "1 or more"),
            ("beta", 0 < self.beta < math.inf, "above 0"),
        ):
            if not fine:
                raise GuiderError(f"suffix redraws: {name}={getattr(self, name)} is out of range; it must be {must}")

    @property
    def survivors(self) -> int:
        """The response, and the one that is proposed."""
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

    def select(self, boundary: Boundary) -> Selection:
        """The response that the chain is at, and a beginning of it."""
        numbers = boundary.numbers(2)
        place = (numbers[:, :1].log() < self.log_acceptance(boundary)[:, None]).long()
        whole = boundary.lengths.gather(1, place)
        beginning = (numbers[:, 1:] * whole).long()
        last = boundary.chunks >= self.steps
        kept = torch.cat([whole, torch.where(last[:, None], whole, beginning)], 1)
        return Selection(place.expand(-1, 2), kept, finished=last)

    def log_acceptance(self, boundary: Boundary) -> torch.Tensor:
        """``[P]`` the logarithm of the acceptance ratio, of the second row over the first."""
        score = boundary.values.double() / self.beta - boundary.log_ratio
        lengths = boundary.lengths.double().log()
        return score[:, 1] - score[:, 0] + torch.where(boundary.chunks > 1, lengths[:, 0] - lengths[:, 1], 0.0)

    def choose(self, boundary: Boundary) -> torch.Tensor:
        """Where the chain is."""
        return torch.zeros_like(boundary.limits)
