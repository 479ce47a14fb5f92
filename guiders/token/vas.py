"""Value-augmented sampling: a full-vocabulary value head among the base's k likeliest next tokens."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from guiders.models.heads import check_value_model
from guiders.models.lm import LM
from guiders.token.protocol import GuideState, TokenGuide, View
from guiders.token.q import QGuidance
from guiders.token.top_k import check_k, check_within, likeliest, only

if TYPE_CHECKING:
    from guiders.guider import Guider


@dataclass(frozen=True)
class VAS(TokenGuide):
    """``log π_g(v) = log_softmax(logits_π(v) + w Q(y<t, v))`` on the base's k likeliest ids, 0 elsewhere (Han et al.
    2024, arXiv 2405.06639, with w = 1/β). With k = |V| it is `QGuidance`.

    Args:
        model: an LM loaded with ``head="value"`` whose head covers the vocabulary.
        weight: w. k: how many of the base's likeliest ids; None: all.

    Raises:
        GuiderError: the weight is not a finite number; k below 1; once the models are read, k above the vocabulary, and
            a scalar head.
    """

    model: LM
    weight: float = 1.0
    k: int | None = 20
    memory = True

    def __post_init__(self) -> None:
        check_k(self.k)
        QGuidance(self.model, self.weight)  # holds the weight to its range

    @property
    def models(self) -> tuple[LM]:
        """The value model, which reads every token."""
        return (self.model,)

    def check(self) -> None:
        check_value_model(self.model)
        QGuidance(self.model, self.weight).check()

    def off(self) -> "VAS":
        """Weight 0 on all ids."""
        return replace(self, weight=0.0, k=None)

    def state(self, guider: "Guider", slots: int) -> GuideState:
        check_within(self.k, guider.vocabulary)
        return _State(self)


@dataclass
class _State(GuideState):
    settings: VAS

    def guide(self, view: View) -> torch.Tensor:
        (q,) = view.own
        ids = likeliest(view.base, self.settings.k)
        return only(ids, (view.guided + self.settings.weight * q).gather(-1, ids), view.guided)
