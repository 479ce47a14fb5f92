"""AlignDistil's teacher: away from a reversed model, the further the two differ."""

from dataclasses import dataclass, replace

import torch

from guiders.models.lm import LM
from guiders.token.implicit import check_weight
from guiders.token.protocol import TokenGuide


@dataclass(frozen=True)
class AlignDistil(TokenGuide):
    """``π⁺ + w (π⁺ − π⁻)`` in logits with ``w = scale ‖p⁺ − p⁻‖₁ + floor`` at every step; π⁺ is the guider's base
    (Zhang et al. 2025, "AlignDistil", the teacher that the policy is distilled from).

    Args:
        reverse: π⁻, trained by DPO on pairs whose chosen and rejected responses are swapped.
        scale: 10 in the authors' code. floor: 0.001 in the authors' code. Both 0 is the base.

    Raises:
        GuiderError: scale or floor is not a finite number.
    """

    reverse: LM
    scale: float = 10.0
    floor: float = 0.001
    with_base = True

    def __post_init__(self) -> None:
        check_weight(self.scale)
        check_weight(self.floor)

    @property
    def models(self) -> tuple[LM, ...]:
        """The reversed model."""
        return (self.reverse,)

    def off(self) -> "AlignDistil":
        """Weight 0 at every step."""
        return replace(self, scale=0.0, floor=0.0)

    def shift(self, *logits: torch.Tensor) -> torch.Tensor:
        """What is added to the base's logits, up to a constant: ``[..., V]``."""
        tuned, reverse = logits
        distance = (tuned.softmax(-1) - reverse.softmax(-1)).abs().sum(-1, keepdim=True)
        return (self.scale * distance + self.floor) * (tuned - reverse)
