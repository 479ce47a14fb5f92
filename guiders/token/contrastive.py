"""Contrastive decoding: away from an amateur, among what the expert finds plausible."""

import math
from dataclasses import dataclass, replace

import torch

from guiders.errors import GuiderError
from guiders.models.lm import LM
from guiders.token.implicit import check_weight
from guiders.token.protocol import TokenGuide


@dataclass(frozen=True)
class Contrastive(TokenGuide):
    """``(1 + β) log p − β log p_amateur`` on ``{v : p(v) ≥ α max p}``, and nothing elsewhere; p is the base, the expert
    (Li et al. 2023; in this form O'Brien and Lewis 2023).

    Args:
        amateur: a worse model with the base's vocabulary. beta: β; 0 leaves the expert's logits.
        alpha: α in [0, 1]; 0 masks nothing, 1 leaves the likeliest token alone.

    Raises:
        GuiderError: β is not a finite number, α is outside of [0, 1].
    """

    amateur: LM
    beta: float = 0.5
    alpha: float = 0.1
    with_base = True

    def __post_init__(self) -> None:
        check_weight(self.beta)
        check_share(self.alpha, "Contrastive.alpha")

    @property
    def models(self) -> tuple[LM, ...]:
        """The amateur."""
        return (self.amateur,)

    def off(self) -> "Contrastive":
        """β and α 0."""
        return replace(self, beta=0.0, alpha=0.0)

    def shift(self, *logits: torch.Tensor) -> torch.Tensor:
        """What is added to the base's logits: ``[..., V]``, minus infinity where it masks."""
        expert, amateur = logits
        return mask_implausible(self.beta * (expert - amateur), expert, self.alpha)


def mask_implausible(x: torch.Tensor, logits: torch.Tensor, alpha: float) -> torch.Tensor:
    """Minus infinity in ``x [..., V]`` where ``p(v) < α max p``, with p the softmax of `logits`."""
    least = logits.amax(-1, keepdim=True) + (math.log(alpha) if alpha else -math.inf)
    return x.masked_fill(logits < least, -torch.inf)


def check_share(share: float, name: str) -> None:
    """Raises GuiderError where a share is outside of [0, 1]."""
    if not 0 <= share <= 1:
        raise GuiderError(f"{name}={share} is out of range; it must be between 0 and 1")
