"""A value inside another one."""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from guiders.value.protocol import Chunk, Value

if TYPE_CHECKING:
    from guiders.guider import Guider


class ValuePart:
    """The scorer of a value inside another one, which sees its own values where it asks for those before a chunk.

    Args:
        taken: the lanes whose log-probability ratio the other parts want (`Scorer.wants_ratio`). The decoder gives one
            ratio: a value that would want another computes its own.
    """

    def __init__(self, value: Value, guider: "Guider", slots: int, columns: int, taken: tuple[int, int] | None = None):
        scorer = value.scorer(guider, slots, columns)
        if taken is not None and scorer.wants_ratio not in (None, taken):
            scorer = value.scorer(replace(guider, token=None, value=value), slots, columns)
        self.scorer = scorer
        self.values = torch.zeros(slots, guider.search.survivors, dtype=torch.float64, device=guider.base.device)
        self.lengths = torch.zeros_like(self.values, dtype=torch.long)
        self._of_rows, self._counts = self.values, self.lengths

    @property
    def wants_ratio(self) -> tuple[int, int] | None:
        return self.scorer.wants_ratio

    @property
    def together(self) -> bool:
        return getattr(self.scorer, "together", False)

    @property
    def evaluated(self) -> int:
        return getattr(self.scorer, "evaluated", 0)

    def admit(self, slots: list[int], prompts: list) -> None:
        self.scorer.admit(slots, prompts)
        self.values[slots], self.lengths[slots] = 0, 0

    def score(self, chunk: Chunk) -> torch.Tensor:
        """``[P, S, K]``, as the decoder would have it of the value alone."""
        fresh = chunk.counts > 0
        if self.together:
            fresh = fresh | (True if chunk.wanted is None else chunk.wanted)
        wanted = chunk.wanted if self.together or chunk.wanted is None else chunk.wanted & fresh
        new = self.scorer.score(replace(chunk, values=self.values, wanted=wanted)).to(self.values)
        values = torch.where(fresh, new, self.values[..., None].expand(new.shape))
        self._of_rows, self._counts = values.flatten(1), chunk.counts.flatten(1)
        return values

    def commit(
        self,
        parents: torch.Tensor,
        rows: torch.Tensor,
        counts: torch.Tensor,
        pending: torch.Tensor,
        identity: bool,
        starts: torch.Tensor | None = None,
    ) -> None:
        self.scorer.commit(parents, rows, counts, pending, identity, *(() if starts is None else (starts,)))
        before, chosen = self.lengths.gather(1, parents), self._of_rows.gather(1, rows)
        if starts is None:
            self.values, self.lengths = chosen, before + counts
            return
        # as in the beam: a row that is kept whole has its value, one that is undone its parent's, and a part none
        kept = starts + counts
        undone = self.values.gather(1, parents).masked_fill(kept != before, torch.nan)
        whole = kept >= before + self._counts.gather(1, rows)
        self.values, self.lengths = torch.where(whole, chosen, undone), kept

    def keep(self, slots: torch.Tensor) -> None:
        self.scorer.keep(slots)
        self.values, self.lengths = self.values[slots], self.lengths[slots]

    def shrink(self, longest: int) -> None:
        self.scorer.shrink(longest)

    def passes(self, counts: torch.Tensor, survivors: torch.Tensor) -> torch.Tensor:
        return self.scorer.passes(counts, survivors)
