"""Implicit token guidance: the log-probability difference of a small tuned and untuned model."""

import math
from dataclasses import dataclass, replace

import torch

from guiders.errors import GuiderError
from guiders.models.lm import LM
from guiders.token.protocol import TokenGuide


@dataclass(frozen=True)
class Implicit(TokenGuide):
    """``log π_g = log_softmax(logits_π + w (log π⁺ − log π⁻))`` (Liu et al. 2024, eq. 5; EFT, Mitchell et al. 2024).

    Args:
        tuned: π⁺. untuned: π⁻; None leaves it out, and ``π_g ∝ π π⁺^w`` (GenARM, Xu et al. 2025).
        weight: w; 0 is the base, and 1 with π's own tuned model would be that model.

    Raises:
        GuiderError: the weight is not a finite number.
    """

    tuned: LM
    untuned: LM | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_weight(self.weight)

    @property
    def models(self) -> tuple[LM, ...]:
        """The models that read every token, in the order `shift` wants their logits."""
        return (self.tuned,) if self.untuned is None else (self.tuned, self.untuned)

    def off(self) -> "Implicit":
        """Weight 0."""
        return replace(self, weight=0.0)

    def shift(self, *logits: torch.Tensor) -> torch.Tensor:
        """What is added to the base's logits, up to a constant: ``[..., V]`` each.

        The log-softmax normalisers of the two models are constants over the vocabulary, and the guided distribution is
        normalised anyway.
        """
        if self.untuned is None:
            return self.weight * logits[0]
        tuned, untuned = logits
        return (tuned - untuned).mul_(self.weight)


def check_weight(weight: float) -> None:
    """Raises GuiderError where a weight is not a finite number."""
    if not math.isfinite(weight):
        raise GuiderError(f"guidance weight {weight} is out of range; it must be a finite number")
