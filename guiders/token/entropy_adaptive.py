"""Entropy-adaptive decoding: the large model where the text is uncertain, else a small one."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from guiders.errors import GuiderError
from guiders.models.lm import LM
from guiders.token.along_rows import AlongRows
from guiders.token.protocol import TokenGuide, View
from guiders.token.stepping_in import SteppingIn

if TYPE_CHECKING:
    from guiders.guider import Guider


@dataclass(frozen=True)
class EntropyAdaptive(TokenGuide):
    """The base where the mean entropy of the last tokens' distributions is above τ, else a small model (Simonds 2025,
    "Entropy adaptive decoding", arXiv:2502.06833).

    The entropy of a token is that of the model that drew it, in bits, before temperature and cuts; before the first
    token the mean is 0. `Generation.notes` has the share of tokens that the base drew.

    Args:
        small: a smaller model with the base's vocabulary.
        threshold: τ, in bits; below 0 the base draws all tokens, with infinity the small model does.
        window: tokens that the mean is over. hold: tokens that a model draws before the other may take over.

    Raises:
        GuiderError: the threshold is no number, window or hold is less than 1.
    """

    small: LM
    threshold: float = 1.0
    window: int = 5
    hold: int = 1
    memory = True

    def __post_init__(self) -> None:
        if self.threshold != self.threshold:
            raise GuiderError(f"EntropyAdaptive.threshold={self.threshold} is no number; give bits, as 1.0")
        for name in ("window", "hold"):
            if getattr(self, name) < 1:
                raise GuiderError(f"EntropyAdaptive.{name}={getattr(self, name)} is out of range; it must be 1 or more")

    @property
    def models(self) -> tuple[LM, ...]:
        """The small model."""
        return (self.small,)

    def off(self) -> "EntropyAdaptive":
        """A threshold below every entropy."""
        return replace(self, threshold=-1.0)

    def state(self, guider: "Guider", slots: int) -> "_EntropyAdaptive":
        return _EntropyAdaptive(self, guider, slots)


class _EntropyAdaptive(SteppingIn):
    def __init__(self, settings: EntropyAdaptive, guider: "Guider", slots: int):
        super().__init__("large", guider, slots)
        self.settings = settings
        self.entropies = AlongRows(slots, guider.search, guider.base.device)

    def guide(self, view: View) -> torch.Tensor:
        (small,) = view.own
        mean = self.entropies.last(self.settings.window, view).nanmean(-1).nan_to_num(nan=0.0)
        drew = self.stepped.last(self.settings.hold, view)  # 1: the base did
        free = (drew == drew[..., -1:]).all(-1) | (view.step == 0)
        large = torch.where(free, mean > self.settings.threshold, drew[..., -1] == 1)
        self.entropies.note(entropy(torch.where(large[..., None], view.base, small)))
        self.note(view, large, torch.ones_like(view.step))  # one model is asked at a time
        return torch.where(large[..., None], view.guided, small)

    @property
    def along(self) -> tuple[AlongRows, ...]:
        return (*super().along, self.entropies)


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """In bits, ``[...]`` of ``[..., V]``."""
    return torch.special.entr(logits.softmax(-1)).sum(-1) / torch.log(torch.tensor(2.0)).item()
