"""Inference-time pessimism: one of N draws, by how far its value is above a threshold that regularises the choice."""

from dataclasses import dataclass

import torch

from guiders.search.one_of_n import OneOfN, check_positive


@dataclass(frozen=True)
class Pessimism(OneOfN):
    """Of N draws the i-th with probability ``relu((r_i − λ) / β) / N``, λ such that these add up to 1 (Huang et al.
    2025, "Is Best-of-N the Best of Them?", arXiv 2503.21878).

    The policy ``π(y) relu((r(y) − λ) / β)`` maximises E[r] less β/2 times its χ² divergence from π, which bounds what
    an error of the reward can cost; its authors draw from it by rejection, with λ from N draws. Here one of these N
    draws is taken. β → ∞ is the base, β → 0 best-of-N.

    Args:
        n: N. beta: β, in units of the value.

    Raises:
        GuiderError: n below 1; a β that is not above 0.
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("pessimism", beta=self.beta)

    def shares(self, values: torch.Tensor) -> torch.Tensor:
        # λ = (sum of the k largest − N β) / k, with the largest k whose k-th value is above its λ
        n = values.shape[-1]
        ranked = values.sort(-1, descending=True).values
        thresholds = (ranked.cumsum(-1) - n * self.beta) / torch.arange(1, n + 1, device=values.device)
        k = (ranked > thresholds).sum(-1, keepdim=True)
        shares = ((values - thresholds.gather(-1, k - 1)) / (n * self.beta)).clamp_min(0)
        return shares / shares.sum(-1, keepdim=True)
