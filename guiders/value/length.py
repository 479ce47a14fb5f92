"""The length of a response as a value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from guiders.value.protocol import Chunk, Scorer, Value

if TYPE_CHECKING:
    from guiders.guider import Guider


@dataclass(frozen=True)
class Length(Value):
    """``w |y|`` with |y| the tokens of the response, in the base's tokens and with its end token.

    In a `Sum` with a reward, a negative weight gives ``r(y) − α|y|``, the penalty that R-DPO trains with (Park et
    al. 2024, "Disentangling Length from Quality in Direct Preference Optimization", arXiv 2403.19159), at decoding.

    Args:
        weight: w, value per token.
    """

    weight: float = -1.0

    def scorer(self, guider: "Guider", slots: int, columns: int) -> "_LengthScorer":
        return _LengthScorer(self.weight, slots, guider.search.survivors, guider.base.device)

    def rescore(
        self,
        guider: "Guider",
        prompt: object,
        responses: Sequence[Sequence[int]],
        ended: Sequence[bool],
        stop: Sequence[str] = (),
    ) -> list[float]:
        return [self.weight * len(response) for response in responses]


class _LengthScorer(Scorer):
    """No model: it reads nothing."""

    wants_ratio: tuple[int, int] | None = None
    evaluated = 0

    def __init__(self, weight: float, slots: int, survivors: int, device: torch.device):
        self.weight = weight
        self.lengths = torch.zeros(slots, survivors, dtype=torch.long, device=device)

    def admit(self, slots: list[int], prompts: list) -> None:
        self.lengths[slots] = 0

    def score(self, chunk: Chunk) -> torch.Tensor:
        return self.weight * (self.lengths[..., None] + chunk.counts).double()

    def commit(
        self,
        parents: torch.Tensor,
        rows: torch.Tensor,
        counts: torch.Tensor,
        pending: torch.Tensor,
        identity: bool,
        starts: torch.Tensor | None = None,
    ) -> None:
        self.lengths = (self.lengths.gather(1, parents) if starts is None else starts) + counts

    def keep(self, slots: torch.Tensor) -> None:
        self.lengths = self.lengths[slots]
