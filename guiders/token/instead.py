"""Another model in the base's place: it draws, and the base only says how far from it that is."""

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import torch

from guiders.models.lm import LM
from guiders.token.protocol import GuideState, TokenGuide, View

if TYPE_CHECKING:
    from guiders.guider import Guider


@dataclass(frozen=True)
class Instead(TokenGuide):
    """``π_g = `` the distribution of `policy`, on which guides before this one keep their shifts.

    The base is run beside it for `Generation.kl` alone, so its positions are computed and not counted as needed.

    Args:
        on: False: the base.
    """

    on: bool = field(default=True, kw_only=True)
    memory = True

    @property
    @abstractmethod
    def policy(self) -> LM:
        """The model that draws; the same object whenever it is asked for."""

    @property
    def models(self) -> tuple[LM, ...]:
        """The policy, which reads every token."""
        return (self.policy,) if self.on else ()

    def off(self) -> Self:
        """The base."""
        return replace(self, on=False)

    def state(self, guider: "Guider", slots: int) -> GuideState:
        return _State(self.on)


@dataclass
class _State(GuideState):
    on: bool

    def guide(self, view: View) -> torch.Tensor:
        if not self.on:
            return view.guided
        (own,) = view.own
        return torch.where(view.guided == view.base, own, view.guided + (own - view.base))

    def passes(self, counts: torch.Tensor, survivors: torch.Tensor) -> torch.Tensor:
        """The base's positions, which the decoder counts, less themselves."""
        return -(self.on * ((counts - 1).clamp_min(0).sum((1, 2)) + survivors))
