"""Self-Debias: tokens that a prompt for the undesired makes likelier become less likely."""

import math
from dataclasses import dataclass, replace

import torch

from guiders.errors import GuiderError
from guiders.models.lm import LM
from guiders.token.protocol import TokenGuide


@dataclass(frozen=True)
class SelfDebias(TokenGuide):
    """``p(v) exp(λ min(0, p(v) − p_negative(v)))``, normalised; p is the base (Schick et al. 2021, eq. 3).

    Args:
        negative: the base under a prompt that asks for what is not wanted (`Prompted`), or any other model.
        decay: λ, 0 or more; 0 is the base.

    Raises:
        GuiderError: λ is negative or not finite.
    """

    negative: LM
    decay: float = 50.0
    with_base = True

    def __post_init__(self) -> None:
        if not 0 <= self.decay < math.inf:
            raise GuiderError(f"SelfDebias.decay={self.decay} is out of range; it must be 0 or more")

    @property
    def models(self) -> tuple[LM, ...]:
        """The model of what is not wanted."""
        return (self.negative,)

    def off(self) -> "SelfDebias":
        """λ = 0."""
        return replace(self, decay=0.0)

    def shift(self, *logits: torch.Tensor) -> torch.Tensor:
        """What is added to the base's logits: ``[..., V]``, 0 or less."""
        base, negative = logits
        return self.decay * (base.softmax(-1) - negative.softmax(-1)).clamp_max(0.0)
