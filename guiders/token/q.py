"""Explicit token guidance: a full-vocabulary value head says what every next token is worth."""

from dataclasses import dataclass, replace

import torch

from guiders.errors import GuiderError
from guiders.models.lm import LM
from guiders.token.implicit import check_weight
from guiders.token.protocol import TokenGuide


@dataclass(frozen=True)
class QGuidance(TokenGuide):
    """``log π_g = log_softmax(logits_π + w Q(y<t, ·))``: with the exact Q and w = 1/β, the optimal policy of the reward
    regularised by β KL to the base (Mudgal et al. 2024, "Controlled decoding", eq. 3).

    Args:
        model: an LM loaded with ``head="value"`` whose head covers the vocabulary. weight: w.

    Raises:
        GuiderError: the weight is not a finite number; the head is scalar (said once the weights are read).
    """

    model: LM
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_weight(self.weight)

    @property
    def models(self) -> tuple[LM]:
        """The model that reads every token."""
        return (self.model,)

    def off(self) -> "QGuidance":
        """Weight 0."""
        return replace(self, weight=0.0)

    def check(self) -> None:
        if getattr(self.model.model, "kind", None) == "scalar":
            raise GuiderError(
                f"{self.model.name}: a scalar value head can't guide tokens; use it as the guider's value"
            )

    def shift(self, *logits: torch.Tensor) -> torch.Tensor:
        """What is added to the base's logits: ``[..., V]``."""
        (q,) = logits
        return self.weight * q
