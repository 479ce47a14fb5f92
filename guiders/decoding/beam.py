"""The surviving hypotheses of every slot."""

import torch

from guiders.value import Chunk

_STATE = ("lengths", "ended", "values", "kl", "over_base", "group", "added")  # [P, S] each


class Beam:
    """P slots of S hypotheses.

    Attributes:
        tokens: ``[P, S, T]`` response tokens so far. lengths: ``[P, S]``. ended: ``[P, S]``. values: ``[P, S]``.
        kl, over_base: ``[P, S]`` nats, summed over the response (see `NextToken`).
        group: ``[P, S]`` the first survivor with the same tokens. added: ``[P, S]`` tokens that the last chunk added.
    """

    def __init__(self, slots: int, survivors: int, device):
        self.tokens = torch.zeros(slots, survivors, 0, dtype=torch.long, device=device)
        self.lengths = torch.zeros(slots, survivors, dtype=torch.long, device=device)
        self.ended = torch.zeros(slots, survivors, dtype=torch.bool, device=device)
        self.values = torch.zeros(slots, survivors, dtype=torch.float64, device=device)
        self.kl = torch.zeros_like(self.values)
        self.over_base = torch.zeros_like(self.values)
        self.group = torch.zeros_like(self.lengths)
        self.added = torch.zeros_like(self.lengths)

    def admit(self, slots: torch.Tensor) -> None:
        """New prompts take these slots: S copies of the empty hypothesis."""
        for name in _STATE:
            getattr(self, name)[slots] = 0

    def keep(self, slots: torch.Tensor) -> None:
        """Keep only these slots."""
        for name in ("tokens", *_STATE):
            setattr(self, name, getattr(self, name)[slots])

    def shrink(self, longest: int) -> None:
        """No running hypothesis has more than `longest` tokens."""
        self.tokens = self.tokens[..., :longest]
        self.lengths.clamp_(max=longest)  # free slots go on counting, and nobody reads them

    def equal_rows(self, tokens: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Which rows of a slot hold the same tokens: ``[P, S·K, S·K]``; equal parents that added equal tokens."""
        inside = torch.arange(tokens.shape[-1], device=tokens.device) < counts[..., None]
        marked = tokens.masked_fill(~inside, -1).flatten(1, 2)
        successors = tokens.shape[2]
        group = self.group.repeat_interleave(successors, 1)
        equal = group[:, :, None] == group[:, None, :]
        for column in marked.unbind(-1):
            equal = equal & (column[:, :, None] == column[:, None, :])
        return equal

    def select(self, parents, rows, chunk: Chunk, values, kl, over_base, equal) -> None:
        """The chosen rows (``[P, S]``) become the survivors; `kl` and `over_base` are of every column (see `Steps`)."""
        inside = torch.arange(chunk.tokens.shape[-1], device=rows.device) < chunk.counts[..., None]
        counts = chunk.counts.flatten(1).gather(1, rows)
        new = chunk.tokens.flatten(1, 2).gather(1, rows[..., None].expand(-1, -1, chunk.tokens.shape[-1]))
        self.lengths = self.lengths.gather(1, parents)
        old = self.tokens.gather(1, parents[..., None].expand_as(self.tokens))
        self.tokens = torch.cat([old, torch.zeros_like(new)], -1)
        where = self.lengths[..., None] + torch.arange(new.shape[-1], device=new.device)
        self.tokens.scatter_(-1, where, new)
        self.lengths = self.lengths + counts
        self.added = counts
        self.ended = chunk.ended.flatten(1).gather(1, rows)
        self.values = values.flatten(1).gather(1, rows).double()
        self.kl = self.kl.gather(1, parents) + _sums(kl, inside).gather(1, rows)
        if over_base is not None:
            self.over_base = self.over_base.gather(1, parents) + _sums(over_base, inside).gather(1, rows)
        if equal is not None:
            among = equal.gather(1, rows[:, :, None].expand(-1, -1, equal.shape[2])).gather(
                2, rows[:, None, :].expand(-1, rows.shape[1], -1)
            )
            self.group = among.long().argmax(-1)

    def last_tokens(self) -> torch.Tensor:
        """Every survivor's last token: ``[P, S]``."""
        return self.tokens.gather(-1, (self.lengths - 1).clamp_min(0)[..., None])[..., 0]

    def response(self, slot: int, survivor: int) -> list[int]:
        """One hypothesis' tokens; waits for the device."""
        return self.tokens[slot, survivor, : int(self.lengths[slot, survivor])].tolist()

    def responses(self, tokens: torch.Tensor, counts: torch.Tensor) -> list[list[list[int]]]:
        """Every row's tokens, ``[P][S·K]`` lists; waits for the device once per tensor."""
        old, lengths = self.tokens.tolist(), self.lengths.tolist()
        new, counts = tokens.tolist(), counts.tolist()
        return [
            [
                old[p][s][: lengths[p][s]] + new[p][s][k][: counts[p][s][k]]
                for s in range(len(new[p]))
                for k in range(len(new[p][s]))
            ]
            for p in range(len(new))
        ]


def _sums(x: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Every row's sum ``[P, S·K]`` over the columns ``[P, S, K, n]`` that are its own."""
    return x.masked_fill(~inside, 0).sum(-1).flatten(1)
