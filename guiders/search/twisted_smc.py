"""Twisted sequential Monte Carlo: weighted particles, resampled where few of them carry the weight."""

import math
from dataclasses import dataclass

import torch

from guiders.errors import GuiderError
from guiders.search.ends import Tokens
from guiders.search.protocol import Boundary, Search, Selection


@dataclass(frozen=True)
class TwistedSMC(Search):
    """Sequential Monte Carlo towards ``σ(y) = π(y) e^{r(y)/β} / Z`` (Zhao et al. 2024, "Probabilistic Inference in
    Language Models via Twisted Sequential Monte Carlo", arXiv 2404.17546).

    The value of a prefix over β is its log-twist ``log ψ``, and that of a whole response its ``r/β``. Particles are
    drawn from the guided distribution π_g; at a boundary a particle's weight is ``w = π ψ / π_g``, since it was last
    resampled. Where the effective number of particles ``(Σw)²/Σw²`` is below a share of them, they are drawn anew in
    proportion to their weights (systematically). The answer is drawn by weight at the end.

    ``Ẑ``, the product of the mean weights, estimates Z without bias for any twist and any π_g that covers π e^{r/β};
    ``Generation.log_weight`` is log Ẑ. Answers weighted by it are a proper sample of σ (Naesseth et al. 2019, arXiv
    1903.04797, on proper weighting). With the exact twist and the guided distribution that it gives, one
    particle is an exact draw, and Ẑ is Z. π is the base at the sampling temperature, without cuts.

    Args:
        particles: N. beta: β, the temperature of the reward. length: tokens between boundaries.
        threshold: resample where the effective number is below ``threshold · N``; 0: never, 1: wherever weights differ.

    Raises:
        GuiderError: a setting out of range. While decoding: temperature 0.
    """

    particles: int = 16
    beta: float = 1.0
    length: int = 5
    threshold: float = 0.5

    def __post_init__(self) -> None:
        checks = {
            "particles": (self.particles >= 1, "1 or more"),
            "beta": (0 < self.beta < math.inf, "above 0"),
            "length": (self.length >= 1, "1 or more"),
            "threshold": (0 <= self.threshold <= 1, "0 to 1"),
        }
        for name, (fine, must) in checks.items():
            if not fine:
                raise GuiderError(f"twisted SMC: {name}={getattr(self, name)} is out of range; it must be {must}")

    @property
    def survivors(self) -> int:
        return self.particles

    @property
    def ends(self) -> Tokens:
        return Tokens(self.length)

    @property
    def needs_draws(self) -> bool:
        return True

    def select(self, boundary: Boundary) -> Selection:
        """Every particle, or as many drawn by their weights."""
        weights = self._weights(boundary)
        effective = weights.softmax(-1).square().sum(-1).reciprocal()
        again = (effective < self.threshold * self.particles) & ~boundary.over.all(-1)
        every = torch.arange(self.particles, device=weights.device)
        positions = (every + boundary.numbers(1)) / self.particles
        rows = torch.where(again[:, None], by_weight(weights, positions), every)
        # what is remembered is the weight less what the row says itself: `_weights` adds it again
        mean = (weights.logsumexp(-1, keepdim=True) - math.log(self.particles)).expand_as(weights)
        remembered = boundary.log_weights.gather(1, rows)
        remembered = torch.where(again[:, None], remembered + mean - weights.gather(1, rows), remembered)
        return Selection(rows, log_weights=remembered)

    def choose(self, boundary: Boundary) -> torch.Tensor:
        """One particle, drawn by weight; its number is not one that `select` used."""
        return by_weight(self._weights(boundary), boundary.numbers(2)[:, 1:])[:, 0]

    def log_weight(self, boundary: Boundary, chosen: torch.Tensor) -> torch.Tensor:
        """log Ẑ."""
        return self._weights(boundary).logsumexp(-1) - math.log(self.particles)

    def _weights(self, boundary: Boundary) -> torch.Tensor:
        """Log-weights of the particles ``[P, N]``."""
        return boundary.log_weights + boundary.values.double() / self.beta - boundary.log_ratio


def by_weight(log_weights: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Places ``[P, m]`` drawn in proportion to weights ``[P, N]``, by the inverse of the distribution function.

    Args:
        numbers: ``[P, m]`` in (0, 1). A place of weight 0 is not drawn where another has some.
    """
    function = log_weights.softmax(-1).cumsum(-1)
    wanted = numbers * function[:, -1:]
    return torch.searchsorted(function, wanted, right=True).clamp_max(log_weights.shape[-1] - 1)
