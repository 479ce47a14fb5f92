"""Implicit value: the summed log-probability difference of a tuned and an untuned model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from guiders.decoding.along import Along
from guiders.kv.lane import Lane
from guiders.kv.log_probs import log_probs
from guiders.models.heads import check_language_model
from guiders.models.lm import LM
from guiders.models.vocab import first_difference
from guiders.value.protocol import Chunk, Reads, Scorer, Value
from guiders.value.rescore import whole_texts
from guiders.value.text import TextScorer

if TYPE_CHECKING:
    from guiders.guider import Guider
    from guiders.search import Search


@dataclass(frozen=True)
class ImplicitValue(Value):
    """``Σ_t log π⁺(y_t|x, y<t) − log π⁻(y_t|x, y<t)`` over the response's tokens (Rafailov et al. 2023; Zhou et al.
    2024, eq. 9).

    Where the token guide is the same pair, the value falls out of the guidance and costs nothing.

    Args:
        tuned: π⁺. untuned: π⁻. Each reads the prompt in its own template; other tokenizers than the base's score the
            text.
    """

    tuned: LM
    untuned: LM

    @property
    def models(self) -> tuple[LM, ...]:
        return (self.tuned, self.untuned)

    def check(self) -> None:
        for lm in self.models:
            check_language_model(lm)

    def reads(self, guider: "Guider") -> tuple[Reads, ...]:
        if self._guiding(guider) is not None:
            return ()
        return tuple(Reads(lm, head=True, last=False) for lm in self.models)

    def rescore(
        self,
        guider: "Guider",
        prompt: object,
        responses: Sequence[Sequence[int]],
        ended: Sequence[bool],
        stop: Sequence[str] = (),
    ) -> list[float]:
        by_text = any(first_difference(guider.base.tokenizer, lm.tokenizer) for lm in self.models)
        tuned, untuned = (
            [_summed(*whole) for whole in whole_texts(lm, guider, prompt, responses, ended, stop, by_text)]
            for lm in self.models
        )
        return [one - other for one, other in zip(tuned, untuned, strict=True)]

    def _guiding(self, guider: "Guider") -> int | None:
        """The place among the guider's models of this very pair, or None."""
        stepping = guider.models
        for place in range(1, len(stepping) - 1):
            if stepping[place] is self.tuned and stepping[place + 1] is self.untuned:
                return place
        return None

    def scorer(self, guider: "Guider", slots: int, columns: int) -> Scorer:
        pair = [self.tuned, self.untuned]
        lane = self._guiding(guider)
        # an end token put after a row that was cut was never stepped: guidance says nothing of it
        if lane is not None and not guider.search.scores_cut_with_end and not guider.search.revises:
            return _FromGuidance(lane)
        if any(first_difference(guider.base.tokenizer, lm.tokenizer) for lm in pair):
            return TextScorer(guider.base, pair, [1.0, -1.0], "log_prob", slots, guider.search)
        return _PairScorer(pair, slots, guider.search, columns, guider.base.device)


def _summed(logits: torch.Tensor, ids: torch.Tensor, first: int) -> float:
    """The log-probability of a text's tokens ``[n]`` from `first` on, from the logits ``[n, V]`` at each."""
    wide = logits[first - 1 : -1].to(torch.promote_types(logits.dtype, torch.float32))
    return float(wide.log_softmax(-1).gather(-1, ids[first:, None]).sum())


class _FromGuidance:
    """The token guide is the same pair: its differences are already there."""

    evaluated: int = 0

    def __init__(self, lane: int):
        self.wants_ratio: int | None = lane

    def admit(self, slots: list[int], prompts: list) -> None:
        pass

    def score(self, chunk: Chunk) -> torch.Tensor:
        assert chunk.log_ratio is not None  # as `wants_ratio` asked
        return chunk.values[..., None] + chunk.log_ratio

    def commit(
        self,
        parents: torch.Tensor,
        rows: torch.Tensor,
        counts: torch.Tensor,
        pending: torch.Tensor,
        identity: bool,
        starts: torch.Tensor | None = None,
    ) -> None:
        pass

    def keep(self, slots: torch.Tensor) -> None:
        pass

    def shrink(self, longest: int) -> None:
        pass

    def passes(self, counts: torch.Tensor, survivors: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(survivors)


class _PairScorer:
    """Both models read a chunk at once; its last token waits for the next chunk, as in the decoder's own lanes."""

    wants_ratio: int | None = None

    def __init__(self, pair: list[LM], slots: int, search: "Search", columns: int, device: torch.device):
        self.lanes = [Lane(lm, slots, search.survivors, search.successors, columns) for lm in pair]
        self.device = device
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
        tuned, untuned = (self._log_probs(lane, chunk).to(self.device) for lane in self.lanes)
        columns = torch.arange(chunk.tokens.shape[-1], device=self.device)
        inside = columns < chunk.counts[..., None]
        of_tokens = (tuned - untuned).masked_fill(~inside, 0)
        before = chunk.values
        if self.added is not None:
            before, self._of_tokens = self.added.sums(self.lengths), of_tokens
        return before[..., None] + of_tokens.sum(-1)

    @staticmethod
    def _log_probs(lane: Lane, chunk: Chunk) -> torch.Tensor:
        """Log-probability of every token of the chunk: ``[P, S, K, n]``."""
        tokens = chunk.tokens.to(lane.device)
        parts = [log_probs(lane.next_logits, tokens[..., 0])[..., None]]
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
        if self.added is not None:
            starts = self.lengths.gather(1, parents) if starts is None else starts
            assert self._of_tokens is not None  # a chunk is scored before it is kept
            self.added.follow(parents, rows, self._of_tokens, starts)
            self.lengths = starts + counts

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
        return len(self.lanes) * ((counts - 1).clamp_min(0).sum((1, 2)) + survivors)
