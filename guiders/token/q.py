"""Explicit token guidance: a full-vocabulary value head says what every next token is worth."""

from dataclasses import dataclass

import torch

from guiders.errors import GuiderError
from guiders.models.lm import LM
from guiders.token.implicit import check_weight


@dataclass(frozen=True)
class QGuidance:
    """``log π_g = log_softmax(logits_π + w Q(y<t, ·))``: with the exact Q and w = 1/β, the optimal policy of the reward
    regularised by β KL to the base (Mudgal et al. 2024, "Controlled decoding", eq. 3).

    Args:
        model: an LM loaded with ``head="value"`` whose head covers the vocabulary. weight: w.

    Raises:
        GuiderError: the weight is not a finite number; the head is scalar (said when the weights are first read).
    """

    model: LM
    weight: float = 1.0

    def __post_init__(self):
        check_weight(self.weight)

    @property
    def models(self) -> tuple[LM]:
        """The model that reads every token."""
        return (self.model,)

    def shift(self, q: torch.Tensor) -> torch.Tensor:
        """What is added to the base's logits: ``[..., V]``."""
        if q.shape[-1] == 1:
            raise GuiderError(
                f"{self.model.name}: a scalar value head can't guide tokens; use it as the guider's value"
            )
        return self.weight * q
