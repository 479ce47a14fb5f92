"""Nudging: where the base is uncertain, a small aligned model writes the next word."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from guiders.errors import GuiderError
from guiders.models.lm import LM
from guiders.token.protocol import TokenGuide, View
from guiders.token.stepping_in import SteppingIn

if TYPE_CHECKING:
    from guiders.guider import Guider

SPACES = ("Ġ", "▁", "Ċ", "ĉ")  # a space, a newline and a tab as byte-level and sentencepiece vocabularies write them


@dataclass(frozen=True)
class Nudging(TokenGuide):
    """The guide's distribution where ``max p_base < γ`` and on to the end of the word that begins there, else the
    base's (Fei et al. 2025, "Nudging", arXiv:2410.09300).

    A word is over where the guide's likeliest next token begins another one; the authors' guide is greedy, and their
    words end at spaces. `Generation.notes` has the share of tokens that were nudged.

    Args:
        guide: a small aligned model. gamma: γ; 0 is the base, above 1 the guide.

    Raises:
        GuiderError: γ is negative.
    """

    guide: LM
    gamma: float = 0.4
    memory = True

    def __post_init__(self) -> None:
        check_threshold(self.gamma, "Nudging.gamma")

    @property
    def models(self) -> tuple[LM, ...]:
        """The guide."""
        return (self.guide,)

    def off(self) -> "Nudging":
        """γ = 0."""
        return replace(self, gamma=0.0)

    def state(self, guider: "Guider", slots: int) -> "_Nudging":
        return _Nudging(self.gamma, guider, slots)


class _Nudging(SteppingIn):
    def __init__(self, gamma: float, guider: "Guider", slots: int):
        super().__init__("nudged", guider, slots)
        self.gamma = gamma
        self.begins = word_begins(guider.base, guider.vocabulary).to(guider.base.device)

    def guide(self, view: View) -> torch.Tensor:
        (own,) = view.own
        before = self.stepped.last(1, view)[..., 0] == 1
        inside = before & ~self.begins[own.argmax(-1)]  # of a word that the guide is writing
        nudged = inside | (confidence(view.base) < self.gamma)
        # inside a word the base is not asked; the guide is, after its own tokens and where the base was uncertain
        self.note(view, nudged, inside.long() + ~(nudged | before))
        return torch.where(nudged[..., None], own, view.guided)


def word_begins(lm: LM, vocabulary: int) -> torch.Tensor:
    """Which ids begin a word, or end the text: ``[vocabulary]`` bool."""
    tokens = lm.tokenizer.convert_ids_to_tokens(list(range(vocabulary)))
    special = {*lm.special_ids, *lm.eos_ids}
    return torch.tensor([i in special or not t or t[0].isspace() or t[0] in SPACES for i, t in enumerate(tokens)])


def confidence(logits: torch.Tensor) -> torch.Tensor:
    """The likeliest token's probability, ``[...]`` of ``[..., V]``."""
    return (logits.amax(-1) - logits.logsumexp(-1)).exp()


def check_threshold(threshold: float, name: str) -> None:
    """Raises GuiderError where a threshold of probability is negative, or not a number."""
    if not threshold >= 0:
        raise GuiderError(f"{name}={threshold} is out of range; it must be 0 or more")
