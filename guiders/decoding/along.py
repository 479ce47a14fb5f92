"""A number for every token of the survivors' responses, so that what is kept of a response has its own sum."""

import torch


class Along:
    """Numbers ``[P, S, T]`` in float64 that follow the beam as its tokens do."""

    def __init__(self, slots: int, survivors: int, device: torch.device):
        self.x = torch.zeros(slots, survivors, 0, dtype=torch.float64, device=device)

    def follow(self, parents: torch.Tensor, rows: torch.Tensor, new: torch.Tensor, starts: torch.Tensor) -> None:
        """The chosen rows become the survivors.

        Args:
            parents, rows: ``[P, S']``. new: ``[P, S, K, n]`` of the chunk.
            starts: ``[P, S']`` tokens that are kept of what came before the chunk, which the chunk's follow.
        """
        added = new.flatten(1, 2).gather(1, rows[..., None].expand(-1, -1, new.shape[-1])).double()
        old = self.x.gather(1, parents[..., None].expand(-1, -1, self.x.shape[-1]))
        self.x = torch.cat([old, torch.zeros_like(added)], -1)
        self.x.scatter_(-1, starts[..., None] + torch.arange(new.shape[-1], device=new.device), added)

    def sums(self, lengths: torch.Tensor) -> torch.Tensor:
        """``[P, S]`` over the first `lengths` tokens of each."""
        inside = torch.arange(self.x.shape[-1], device=self.x.device) < lengths[..., None]
        return self.x.masked_fill(~inside, 0).sum(-1)

    def keep(self, slots: torch.Tensor) -> None:
        """Keep only these slots."""
        self.x = self.x[slots]

    def shrink(self, longest: int) -> None:
        """No response that goes on has more than `longest` tokens."""
        self.x = self.x[..., :longest]
