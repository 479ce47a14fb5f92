"""Soft best-of-N: one of N draws, with a probability that grows exponentially with its value."""

from dataclasses import dataclass

import torch

from guiders.search.one_of_n import OneOfN, check_positive


@dataclass(frozen=True)
class SoftBestOfN(OneOfN):
    """Of N draws the i-th with probability ``softmax(r / λ)_i`` (Verdun et al. 2025, "Soft Best-of-n Sampling for Model
    Alignment", arXiv 2505.03156).

    λ → 0 is best-of-N, λ → ∞ the base, and N → ∞ the tilted law ``π(y) exp(r(y)/λ) / Z``: no rejection, no bound on r.

    Args:
        n: N. temperature: λ, in units of the value.

    Raises:
        GuiderError: n below 1; a temperature that is not above 0.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("soft best-of-N", temperature=self.temperature)

    def shares(self, values: torch.Tensor) -> torch.Tensor:
        return (values / self.temperature).softmax(-1)
