"""The surviving hypotheses of every slot."""

import torch

from guiders.decoding.along import Along
from guiders.search import Selection
from guiders.value import Chunk

_SUMS = ("kl", "over_base", "acceptance")  # of `Steps.measured`, over a response
_STATE = ("lengths", "ended", "values", "log_weights", "added", *_SUMS)  # [P, S] each


class Beam:
    """P slots of S hypotheses.

    Attributes:
        tokens: ``[P, S, T]`` response tokens so far. lengths: ``[P, S]``. ended: ``[P, S]``. values: ``[P, S]``.
        log_weights: ``[P, S]`` as the search gave them.
        kl, over_base, acceptance: ``[P, S]`` summed over the response (see `NextToken`).
        group: ``[P, S]`` the first survivor with the same tokens; None where that is yet to be found.
        added: ``[P, S]`` tokens of the last chunk that were kept.

    Args:
        revises: parts of responses may be kept (`Search.revises`).
    """

    def __init__(self, slots: int, survivors: int, device: torch.device, revises: bool = False):
        self.tokens = torch.zeros(slots, survivors, 0, dtype=torch.long, device=device)
        self.lengths = torch.zeros(slots, survivors, dtype=torch.long, device=device)
        self.ended = torch.zeros(slots, survivors, dtype=torch.bool, device=device)
        self.values = torch.zeros(slots, survivors, dtype=torch.float64, device=device)
        self.kl = torch.zeros_like(self.values)
        self.over_base = torch.zeros_like(self.values)
        self.acceptance = torch.zeros_like(self.values)
        self.drafted = False  # so far
        self.log_weights = torch.zeros_like(self.values)
        self.group: torch.Tensor | None = torch.zeros_like(self.lengths)
        self.of_tokens = {name: Along(slots, survivors, device) for name in _SUMS if revises}
        self.added = torch.zeros_like(self.lengths)

    def admit(self, slots: torch.Tensor) -> None:
        """New prompts take these slots: S copies of the empty hypothesis."""
        for name in _STATE:
            getattr(self, name)[slots] = 0
        if self.group is not None:
            self.group[slots] = 0

    def keep(self, slots: torch.Tensor) -> None:
        """Keep only these slots."""
        for name in ("tokens", *_STATE):
            setattr(self, name, getattr(self, name)[slots])
        self.group = None if self.group is None else self.group[slots]
        for along in self.of_tokens.values():
            along.keep(slots)

    def shrink(self, longest: int) -> None:
        """No running hypothesis has more than `longest` tokens."""
        self.tokens = self.tokens[..., :longest]
        self.lengths.clamp_(max=longest)  # those of free slots
        for along in self.of_tokens.values():
            along.shrink(longest)

    def equal_rows(self, tokens: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Which rows of a slot hold the same tokens: ``[P, S·K, S·K]``; equal parents that added equal tokens."""
        inside = torch.arange(tokens.shape[-1], device=tokens.device) < counts[..., None]
        marked = tokens.masked_fill(~inside, -1).flatten(1, 2)
        successors = tokens.shape[2]
        if self.group is None:
            own = torch.arange(self.tokens.shape[-1], device=tokens.device) < self.lengths[..., None]
            held = self.tokens.masked_fill(~own, -1)
            self.group = (held[:, :, None] == held[:, None]).all(-1).long().argmax(-1)
        group = self.group.repeat_interleave(successors, 1)
        equal = group[:, :, None] == group[:, None, :]
        for column in marked.unbind(-1):
            equal = equal & (column[:, :, None] == column[:, None, :])
        return equal

    def select(
        self,
        parents: torch.Tensor,
        rows: torch.Tensor,
        chunk: Chunk,
        values: torch.Tensor,
        measured: dict[str, torch.Tensor | None],
        equal: torch.Tensor | None,
        selection: Selection,
    ) -> torch.Tensor | None:
        """The chosen rows (``[P, S']``) become the survivors.

        Args:
            measured: of every column (see `Steps.measured`). selection: of these rows.
            equal: which rows hold the same tokens, where that is known.

        Returns:
            ``[P, S']`` tokens that each keeps of its parent's response, where it keeps parts; else None.
        """
        kept, log_weights, idle = selection.kept, selection.log_weights, selection.idle
        inside = torch.arange(chunk.tokens.shape[-1], device=rows.device) < chunk.counts[..., None]
        new = chunk.tokens.flatten(1, 2).gather(1, rows[..., None].expand(-1, -1, chunk.tokens.shape[-1]))
        lengths = self.lengths.gather(1, parents)
        counts = chunk.counts.flatten(1).gather(1, rows)
        ended, now = chunk.ended.flatten(1).gather(1, rows), values.flatten(1).gather(1, rows).double()
        starts = None
        if kept is not None:
            whole = kept >= lengths + counts
            before = self.values.gather(1, parents).masked_fill(kept != lengths, torch.nan)
            kept = torch.minimum(kept.clamp_min(0), lengths + counts)
            starts = lengths = torch.minimum(kept, lengths)
            counts, ended, now = kept - lengths, ended & whole, torch.where(whole, now, before)
        old = self.tokens.gather(1, parents[..., None].expand(-1, -1, self.tokens.shape[-1]))
        self.tokens = torch.cat([old, torch.zeros_like(new)], -1)
        where = lengths[..., None] + torch.arange(new.shape[-1], device=new.device)
        self.tokens.scatter_(-1, where, new)
        self.lengths = lengths + counts
        self.added, self.values = counts, now
        self.ended = ended if idle is None else ended | idle
        if log_weights is None:
            log_weights = self.log_weights.gather(1, parents) + chunk.weights().gather(1, rows)
        self.log_weights = log_weights.double()
        self.drafted = measured["acceptance"] is not None
        for name, of_columns in measured.items():
            if of_columns is None:
                setattr(self, name, getattr(self, name)[:, : rows.shape[1]])
            elif self.of_tokens:
                self.of_tokens[name].follow(parents, rows, of_columns, lengths)
                setattr(self, name, self.of_tokens[name].sums(self.lengths))
            else:
                setattr(self, name, getattr(self, name).gather(1, parents) + _sums(of_columns, inside).gather(1, rows))
        self.group = None
        if equal is not None and kept is None:
            among = equal.gather(1, rows[:, :, None].expand(-1, -1, equal.shape[2])).gather(
                2, rows[:, None, :].expand(-1, rows.shape[1], -1)
            )
            self.group = among.long().argmax(-1)
        return starts

    def log_ratios(self, chunk: Chunk, over_base: torch.Tensor | None) -> torch.Tensor:
        """Every row's log-probability as drawn, less the base's: ``[P, S·K]``, from what the chunk's columns added."""
        before = self.over_base.repeat_interleave(chunk.counts.shape[2], 1)
        if over_base is None:
            return before
        return before + _sums(
            over_base, torch.arange(over_base.shape[-1], device=before.device) < chunk.counts[..., None]
        )

    def last_tokens(self) -> torch.Tensor:
        """Every survivor's last token: ``[P, S]``."""
        return self.tokens.gather(-1, (self.lengths - 1).clamp_min(0)[..., None])[..., 0]

    def response(self, slot: int, survivor: int) -> list[int]:
        """One hypothesis' tokens; waits for the device."""
        return self.tokens[slot, survivor, : int(self.lengths[slot, survivor])].tolist()

    def notes(self, slot: int, survivor: int) -> dict[str, float]:
        """What is to be recorded of one hypothesis (`Generation.notes`): the mean acceptance of its tokens' drafts."""
        if not self.drafted:
            return {}
        return {"acceptance": float(self.acceptance[slot, survivor] / self.lengths[slot, survivor].clamp_min(1))}

    def responses(self, tokens: torch.Tensor, counts: torch.Tensor) -> list[list[list[int]]]:
        """Every row's tokens, ``[P][S·K]`` lists; waits for the device once per tensor."""
        old, lengths = self.tokens.tolist(), self.lengths.tolist()
        new, added = tokens.tolist(), counts.tolist()
        return [
            [
                old[p][s][: lengths[p][s]] + new[p][s][k][: added[p][s][k]]
                for s in range(len(new[p]))
                for k in range(len(new[p][s]))
            ]
            for p in range(len(new))
        ]


def _sums(x: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Every row's sum ``[P, S·K]`` over the columns ``[P, S, K, n]`` that are its own."""
    return x.masked_fill(~inside, 0).sum(-1).flatten(1)
