"""BlendIn: where the base is uncertain, a mixture of its distribution with a small aligned model's."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from guiders.models.lm import LM
from guiders.token.contrastive import check_share
from guiders.token.nudging import check_threshold, confidence
from guiders.token.protocol import TokenGuide, View
from guiders.token.stepping_in import SteppingIn

if TYPE_CHECKING:
    from guiders.guider import Guider

AGREEMENT = 0.1  # what the base's probability of the guide's first choice adds to the guide's share (authors' code)


@dataclass(frozen=True)
class BlendIn(TokenGuide):
    """``α p_guide + (1 − α) p_base`` where ``max p_base < γ``, else the base; token by token (Gan et al. 2026, "To
    intervene or not").

    `Generation.notes` has the share of tokens that were blended.

    Args:
        guide: a small aligned model. gamma: γ; 0 is the base, above 1 blends everywhere.
        alpha: α in [0, 1]; None: by confidence, ``max p_guide / (max p_base + max p_guide) + 0.1 p_base(argmax
            p_guide)``, at most 1, as in the authors' code.

    Raises:
        GuiderError: γ is negative, α is outside of [0, 1].
    """

    guide: LM
    gamma: float = 0.4
    alpha: float | None = None
    memory = True

    def __post_init__(self) -> None:
        check_threshold(self.gamma, "BlendIn.gamma")
        if self.alpha is not None:
            check_share(self.alpha, "BlendIn.alpha")

    @property
    def models(self) -> tuple[LM, ...]:
        """The guide."""
        return (self.guide,)

    def off(self) -> "BlendIn":
        """γ = 0."""
        return replace(self, gamma=0.0)

    def state(self, guider: "Guider", slots: int) -> "_BlendIn":
        return _BlendIn(self, guider, slots)

    def share(self, base: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
        """α at every row, ``[..., 1]``, from the log-probabilities ``[..., V]``."""
        if self.alpha is not None:
            return torch.full_like(base[..., :1], self.alpha)
        of_guide, first = guide.max(-1, keepdim=True)
        of_guide, of_base = of_guide.exp(), base.amax(-1, keepdim=True).exp()
        return (of_guide / (of_base + of_guide) + AGREEMENT * base.gather(-1, first).exp()).clamp_max(1.0)


class _BlendIn(SteppingIn):
    def __init__(self, settings: BlendIn, guider: "Guider", slots: int):
        super().__init__("blended", guider, slots)
        self.settings = settings

    def guide(self, view: View) -> torch.Tensor:
        base, guide = view.base.log_softmax(-1), view.own[0].log_softmax(-1)
        blended = confidence(view.base) < self.settings.gamma
        alpha = self.settings.share(base, guide)
        self.note(view, blended, (~blended).long())
        mixed = torch.logaddexp(guide + alpha.log(), base + torch.log1p(-alpha))
        return torch.where(blended[..., None], mixed, view.guided)
