"""Alignment-aware decoding: the token that alignment has favoured most, among the plausible ones."""

from dataclasses import dataclass

import torch

from guiders.models.lm import LM
from guiders.token.contrastive import check_share, mask_implausible
from guiders.token.implicit import Implicit
from guiders.token.protocol import TokenGuide


@dataclass(frozen=True)
class AAD(TokenGuide):
    """``argmax log π⁺ − log π⁻`` over ``{v : π⁺(v) ≥ α max π⁺}`` (Berdoz et al. 2026, "Alignment-aware decoding").

    One token has all probability, whatever the temperature, so that texts can't be scored. The base is what the
    divergence is measured from; give π⁺ as the base to decode with its prompt and end tokens.

    Args:
        tuned: π⁺. untuned: π⁻. alpha: α in [0, 1]; 1 is greedy decoding of π⁺.

    Raises:
        GuiderError: α is outside of [0, 1].
    """

    tuned: LM
    untuned: LM
    alpha: float = 0.1
    normalised = False

    def __post_init__(self) -> None:
        check_share(self.alpha, "AAD.alpha")

    @property
    def models(self) -> tuple[LM, ...]:
        """The tuned model, then the untuned."""
        return (self.tuned, self.untuned)

    def off(self) -> Implicit:
        """The pair's implicit guidance of weight 0."""
        return Implicit(self.tuned, self.untuned, 0.0)

    def shift(self, *logits: torch.Tensor) -> torch.Tensor:
        """What is added to the base's logits: ``[..., V]``, minus infinity everywhere but at one id."""
        tuned, untuned = logits
        best = mask_implausible(tuned - untuned, tuned, self.alpha).argmax(-1, keepdim=True)
        return torch.full_like(tuned, -torch.inf).scatter_(-1, best, 0.0)
