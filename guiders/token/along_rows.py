"""Numbers that a guide with a memory notes at every token; they follow the beam as the tokens do."""

import torch

from guiders.decoding.along import Along
from guiders.search import Search
from guiders.token.protocol import View


class AlongRows:
    """One number for every token of every row, from the tokens that survived and from the chunk's columns so far.

    Args:
        slots: P. search: of S survivors with K successors each. device: the base's.
    """

    def __init__(self, slots: int, search: Search, device: torch.device):
        self.successors = search.successors
        self.kept = Along(slots, search.survivors, device)
        self.lengths = torch.zeros(slots, search.survivors, dtype=torch.long, device=device)
        self.columns: list[torch.Tensor] = []  # of the chunk, each [P, S, K]

    def admit(self, slots: list[int]) -> None:
        """New prompts have no token yet."""
        self.lengths[slots] = 0
        self.columns = []

    def note(self, x: torch.Tensor) -> None:
        """The number ``[P, S, 1 or K]`` of the token that is about to be drawn."""
        self.columns.append(x.double().expand(*x.shape[:2], self.successors))

    def last(self, n: int, view: View) -> torch.Tensor:
        """The numbers ``[P, S, K, n]`` of each row's last n tokens, in their order; NaN where it has fewer."""
        rows = view.running.shape
        new = [x[..., : rows[2], None] for x in self.columns[-n:]]
        place = self.lengths[..., None] + torch.arange(len(new) - n, 0, device=self.lengths.device)
        x = torch.nn.functional.pad(self.kept.x, (0, 1), value=torch.nan)  # so that there is a column to gather from
        old = x.gather(-1, place.clamp(0, x.shape[-1] - 1)).masked_fill(place < 0, torch.nan)
        return torch.cat([old[:, :, None].expand(*rows, -1), *(x.expand(*rows, 1) for x in new)], -1)

    def commit(self, parents: torch.Tensor, rows: torch.Tensor, counts: torch.Tensor) -> None:
        """See `GuideState.commit`."""
        starts = self.lengths.gather(1, parents)
        self.kept.follow(parents, rows, torch.stack(self.columns, -1), starts)
        self.lengths, self.columns = starts + counts, []

    def keep(self, slots: torch.Tensor) -> None:
        """See `GuideState.keep`."""
        self.kept.keep(slots)
        self.lengths = self.lengths[slots]

    def shrink(self, longest: int) -> None:
        """See `GuideState.shrink`."""
        self.kept.shrink(longest)
        self.lengths.clamp_(max=longest)

    def mean(self, slot: int, survivor: int) -> float:
        """Over the tokens of one survivor; 0 where it has none."""
        x = self.kept.x[slot, survivor, : int(self.lengths[slot, survivor])]
        return float(x.mean()) if len(x) else 0.0

    def of_chunk(self, counts: torch.Tensor) -> torch.Tensor:
        """The chunk's sum ``[P]``: of the first column once a survivor, which its successors share, then of the columns
        that are among each row's `counts` ``[P, S, K]``."""
        total = self.columns[0][..., 0].sum(1)
        for t, x in enumerate(self.columns[1:], 1):
            total = total + x.masked_fill(counts <= t, 0).sum((1, 2))
        return total
