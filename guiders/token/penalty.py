"""Penalty decoding: tokens of the last few places are penalised, and so is an early end."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from guiders.errors import GuiderError
from guiders.token.protocol import GuideState, TokenGuide, View
from guiders.token.seen import seen

if TYPE_CHECKING:
    from guiders.guider import Guider


@dataclass(frozen=True)
class Penalty(TokenGuide):
    """Logits of ids among the response's last `window` tokens are divided by θ where above 0, multiplied where below
    (Keskar et al. 2019, arXiv 1909.05858, with the window and the penalty on short texts of Zhu et al. 2023, arXiv
    2310.14971). Logits are those of the guides before this one; the prompt's tokens are not penalised.

    Args:
        theta: θ; 1 is off. window: how many tokens back; None: all of the response, 0 is off.
        end: what end tokens lose at the beginning of a response, less and less up to `least` tokens; 0 is off. Its
            linear form is our own.

    Raises:
        GuiderError: θ not above 0, a window, `end` or `least` out of range.
    """

    theta: float = 1.2
    window: int | None = 100
    end: float = 0.0
    least: int = 1
    memory = True

    def __post_init__(self) -> None:
        checks = {
            "theta": (math.isfinite(self.theta) and self.theta > 0, "above 0"),
            "window": (self.window is None or self.window >= 0, "0 or more"),
            "end": (math.isfinite(self.end), "a finite number"),
            "least": (self.least >= 1, "1 or more"),
        }
        for name, (fine, must) in checks.items():
            if not fine:
                raise GuiderError(f"penalty: {name}={getattr(self, name)} is out of range; it must be {must}")

    def off(self) -> "Penalty":
        """θ = 1 and no penalty on the end."""
        return replace(self, theta=1.0, end=0.0)

    def state(self, guider: "Guider", slots: int) -> GuideState:
        ends = torch.zeros(guider.vocabulary, dtype=torch.float64, device=guider.base.device)
        ends[[i for i in guider.base.eos_ids if i < guider.vocabulary]] = self.end
        return _State(self, ends)


@dataclass
class _State(GuideState):
    settings: Penalty
    ends: torch.Tensor  # [V]

    def guide(self, view: View) -> torch.Tensor:
        guided, theta = view.guided, self.settings.theta
        if theta != 1 and self.settings.window != 0:
            penalised = torch.where(guided > 0, guided / theta, guided * theta)
            guided = torch.where(seen(view, self.settings.window), penalised, guided)
        if self.settings.end:
            left = (1 - view.step[..., None].double() / self.settings.least).clamp_min(0)
            guided = guided - (self.ends * left).to(guided)
        return guided
