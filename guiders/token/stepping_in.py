"""The memory of guides that step in at some tokens only: at which, and which models were not needed there."""

from typing import TYPE_CHECKING

import torch

from guiders.token.along_rows import AlongRows
from guiders.token.protocol import GuideState, View

if TYPE_CHECKING:
    from guiders.guider import Guider


class SteppingIn(GuideState):
    """Inherit from it, and call `note` in `guide`.

    All models are run at every step, so that all rows step together; a model whose distribution the method did not ask
    for is not counted in `Generation.forward_passes`, as the methods' authors count. That a model reads the tokens that
    another one drew, many at once, before it is next asked, is not counted either.

    Args:
        name: of the share of tokens at which the guide stepped in, in `Generation.notes`.
    """

    def __init__(self, name: str, guider: "Guider", slots: int):
        self.name = name
        self.stepped, self.spared = (AlongRows(slots, guider.search, guider.base.device) for _ in range(2))

    def note(self, view: View, stepped: torch.Tensor, spared: torch.Tensor) -> None:
        """At this token: did the guide step in, and how many models were not needed? ``[P, S, K]`` each."""
        self.stepped.note(stepped)
        # logits before the first token are the prompt's, which is not counted
        self.spared.note(spared * (view.running & (view.step > 0)))

    def admit(self, slots: list[int], prompts: list) -> None:
        for along in self.along:
            along.admit(slots)

    def commit(self, parents: torch.Tensor, rows: torch.Tensor, counts: torch.Tensor, identity: bool) -> None:
        for along in self.along:
            along.commit(parents, rows, counts)

    def keep(self, slots: torch.Tensor) -> None:
        for along in self.along:
            along.keep(slots)

    def shrink(self, longest: int) -> None:
        for along in self.along:
            along.shrink(longest)

    def passes(self, counts: torch.Tensor, survivors: torch.Tensor) -> torch.Tensor:
        return -self.spared.of_chunk(counts).long()

    def notes(self, slot: int, survivor: int) -> dict[str, float]:
        return {self.name: self.stepped.mean(slot, survivor)}

    @property
    def along(self) -> tuple[AlongRows, ...]:
        """All that follows the beam."""
        return (self.stepped, self.spared)
