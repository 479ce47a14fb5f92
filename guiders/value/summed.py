"""Sums, or means, of the log-probabilities of a response's tokens, which are the base's own, read chunk by chunk."""

from collections.abc import Sequence

import torch

from guiders.decoding.along import Along
from guiders.kv.lane import Lane
from guiders.kv.log_probs import log_probs
from guiders.models.lm import LM
from guiders.search import Search
from guiders.value.protocol import Chunk


class SummedScorer:
    """``Σ_m sign_m Σ_t log p_m(y_t)``. The models read a chunk at once; its last token waits for the next chunk, as in
    the decoder's own lanes.

    Args:
        models: with the base's tokenizer. signs: how their parts add up.
        mean: over the response's tokens, an end token included, in place of the sum.
        stepped: the decoder has the models read these tokens in any case, so that nothing more is needed of them.
    """

    wants_ratio: tuple[int, int] | None = None

    def __init__(
        self,
        models: Sequence[LM],
        signs: Sequence[float],
        slots: int,
        search: Search,
        columns: int,
        device: torch.device,
        mean: bool = False,
        stepped: bool = False,
    ):
        self.lanes = [Lane(lm, slots, search.survivors, search.successors, columns) for lm in models]
        self.signs, self.device, self.mean, self.stepped = signs, device, mean, stepped
        # where a part of a row can be kept, its value is the sum of what its own tokens added
        self.added = Along(slots, search.survivors, device) if search.revises else None
        self.lengths = torch.zeros(slots, search.survivors, dtype=torch.long, device=device)
        self._of_tokens: torch.Tensor | None = None

    @property
    def evaluated(self) -> int:
        return sum(lane.evaluated for lane in self.lanes)

    def admit(self, slots: list[int], prompts: list) -> None:
        for lane in self.lanes:
            lane.prefill(slots, [lane.lm.encode_prompt(p) for p in prompts])
        self.lengths[torch.tensor(slots, device=self.device)] = 0

    def score(self, chunk: Chunk) -> torch.Tensor:
        parts = [
            sign * self._log_probs(lane, chunk).to(self.device)
            for sign, lane in zip(self.signs, self.lanes, strict=True)
        ]
        columns = torch.arange(chunk.tokens.shape[-1], device=self.device)
        inside = columns < chunk.counts[..., None]
        of_tokens = sum(parts[1:], start=parts[0]).masked_fill(~inside, 0)
        before = chunk.values * self.lengths if self.mean else chunk.values
        if self.added is not None:
            before, self._of_tokens = self.added.sums(self.lengths), of_tokens
        sums = before[..., None] + of_tokens.sum(-1)
        return sums / (self.lengths[..., None] + chunk.counts).clamp_min(1) if self.mean else sums

    @staticmethod
    def _log_probs(lane: Lane, chunk: Chunk) -> torch.Tensor:
        """Log-probability of every token of the chunk: ``[P, S, K, n]``."""
        tokens = chunk.tokens.to(lane.device)
        first = lane.next_logits
        assert first is not None  # a chunk follows a prompt
        parts = [log_probs(first, tokens[..., 0])[..., None]]
        if tokens.shape[-1] > 1:
            for at, logits in lane.consume_in_parts(tokens[..., :-1], counts=chunk.counts - 1):
                following = tokens[..., at + 1 : at + 1 + logits.shape[-2], None]
                parts.append(log_probs(logits, following)[..., 0])
        return torch.cat(parts, -1)

    def commit(
        self,
        parents: torch.Tensor,
        rows: torch.Tensor,
        counts: torch.Tensor,
        pending: torch.Tensor,
        identity: bool,
        starts: torch.Tensor | None = None,
    ) -> None:
        for lane in self.lanes:
            lane.follow(parents, rows, counts, pending, identity, starts)
        if self.added is not None or self.mean:
            starts = self.lengths.gather(1, parents) if starts is None else starts
            self.lengths = starts + counts
        if self.added is not None:
            assert starts is not None
            assert self._of_tokens is not None  # of the score before
            self.added.follow(parents, rows, self._of_tokens, starts)

    def keep(self, slots: torch.Tensor) -> None:
        for lane in self.lanes:
            lane.keep(slots)
        self.lengths = self.lengths[slots]
        if self.added is not None:
            self.added.keep(slots)

    def shrink(self, longest: int) -> None:
        for lane in self.lanes:
            lane.shrink(longest)
        self.lengths.clamp_(max=longest)
        if self.added is not None:
            self.added.shrink(longest)

    def passes(self, counts: torch.Tensor, survivors: torch.Tensor) -> torch.Tensor:
        needed = (counts - 1).clamp_min(0).sum((1, 2)) + survivors
        return torch.zeros_like(needed) if self.stepped else len(self.lanes) * needed
