"""Reward-guided token search, ARGS and RAD: a value model reads each of the base's k likeliest next tokens."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from guiders.errors import GuiderError
from guiders.models.heads import check_value_model
from guiders.models.lm import LM
from guiders.token.implicit import check_weight
from guiders.token.protocol import GuideState, TokenGuide, View
from guiders.token.top_k import check_k, check_within, likeliest, only

if TYPE_CHECKING:
    from guiders.guider import Guider


@dataclass(frozen=True)
class ARGS(TokenGuide):
    """``log π_g(v) = log_softmax(logits_π(v) + w r(y<t, v))`` on the base's k likeliest ids, 0 elsewhere.

    ARGS (Khanov et al. 2024, arXiv 2402.01694); RAD (Deng and Raffel 2023, arXiv 2310.09520) is the same rule
    with a reward model trained on prefixes. With k = |V| and w r the soft value of the prefix over β it is the optimal
    policy of the reward regularised by β KL; k = 1 is greedy decoding.

    Args:
        model: a value model with a scalar head, which reads k alternatives a token.
        weight: w. k: how many of the base's likeliest ids; None: all.

    Raises:
        GuiderError: the weight is not a finite number; k below 1; once the models are read, k above the vocabulary,
            and a head that is not scalar.
    """

    model: LM
    weight: float = 1.0
    k: int | None = 10
    memory = True

    def __post_init__(self) -> None:
        check_weight(self.weight)
        check_k(self.k)

    @property
    def models(self) -> tuple[LM]:
        """The value model, which reads every token."""
        return (self.model,)

    def check(self) -> None:
        check_value_model(self.model)
        if self.model.model.kind != "scalar":
            raise GuiderError(f"{self.model.name}: ARGS needs a scalar value head; with a full vocabulary use VAS")

    def off(self) -> "ARGS":
        """Weight 0 on all ids."""
        return replace(self, weight=0.0, k=None)

    def state(self, guider: "Guider", slots: int) -> GuideState:
        check_within(self.k, guider.vocabulary)
        return _State(self)


@dataclass
class _State(GuideState):
    settings: ARGS

    def guide(self, view: View) -> torch.Tensor:
        if self.settings.weight == 0 and self.settings.k is None:
            return view.guided
        ids = likeliest(view.base, self.settings.k)
        rewards = view.peek(ids, model=1)[..., 0].to(view.guided)
        return only(ids, view.guided.gather(-1, ids) + self.settings.weight * rewards, view.guided)
