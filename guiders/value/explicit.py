"""Explicit value: a model with a value head scores the prefix."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from guiders.kv.lane import Lane
from guiders.models.heads import check_value_model
from guiders.models.lm import LM
from guiders.models.vocab import first_difference
from guiders.value.protocol import Chunk, Reads, Scorer, Value
from guiders.value.rescore import whole_texts
from guiders.value.text import TextScorer

if TYPE_CHECKING:
    from guiders.guider import Guider


@dataclass(frozen=True)
class Explicit(Value):
    """The value of a prefix by a value model (Liu et al. 2024, section 3.1; trained as FUDGE, Yang and Klein 2021).

    A scalar head gives V(y≤t) at the last token; a full-vocabulary head gives Q(y<t, y_t), the last token's logit
    one position earlier, as the published IVG checkpoints do.

    Args:
        model: an LM loaded with ``head="value"``. If its tokenizer is not the base's, the response's text is scored.
    """

    model: LM

    @property
    def models(self) -> tuple[LM, ...]:
        return (self.model,)

    def check(self) -> None:
        check_value_model(self.model)

    def reads(self, guider: "Guider") -> tuple[Reads, ...]:
        return (Reads(self.model, head=False, last=self.model.model.kind == "scalar"),)

    def rescore(
        self,
        guider: "Guider",
        prompt: object,
        responses: Sequence[Sequence[int]],
        ended: Sequence[bool],
        stop: Sequence[str] = (),
    ) -> list[float]:
        read = whole_texts(self.model, guider, prompt, responses, ended, stop)
        if self.model.model.kind == "scalar":
            return [float(output[-1, 0]) for output, _, _ in read]
        return [float(output[-2, ids[-1]]) if len(ids) > 1 else 0.0 for output, ids, _ in read]

    def scorer(self, guider: "Guider", slots: int, columns: int) -> Scorer:
        search = guider.search
        if first_difference(guider.base.tokenizer, self.model.tokenizer):
            return TextScorer(guider.base, [self.model], [1.0], str(self.model.model.kind), slots, search)
        kind = _TokenScorer if self.model.model.kind == "scalar" else _QScorer
        return kind(self.model, slots, search.survivors, search.successors, columns, guider.base.device)


class _TokenScorer:
    """Scalar head: V at every row's last token, a whole chunk at once."""

    wants_ratio: tuple[int, int] | None = None

    def __init__(self, lm: LM, slots: int, survivors: int, successors: int, columns: int, device: torch.device):
        self.lane = Lane(lm, slots, survivors, successors, columns)
        self.device = device

    @property
    def evaluated(self) -> int:
        return self.lane.evaluated

    def admit(self, slots: list[int], prompts: list) -> None:
        self.lane.prefill(slots, [self.lane.lm.encode_prompt(p) for p in prompts])

    def score(self, chunk: Chunk) -> torch.Tensor:
        values = torch.cat(
            [out[..., 0] for _, out in self.lane.consume_in_parts(chunk.tokens, counts=chunk.counts)], -1
        )
        last = (chunk.counts - 1).clamp_min(0)[..., None].to(values.device)
        return values.gather(-1, last)[..., 0].to(self.device)

    def commit(
        self,
        parents: torch.Tensor,
        rows: torch.Tensor,
        counts: torch.Tensor,
        pending: torch.Tensor,
        identity: bool,
        starts: torch.Tensor | None = None,
    ) -> None:
        self.lane.commit(parents, rows, counts, identity, starts)

    def keep(self, slots: torch.Tensor) -> None:
        self.lane.keep(slots)

    def shrink(self, longest: int) -> None:
        self.lane.shrink(longest)

    def passes(self, counts: torch.Tensor, survivors: torch.Tensor) -> torch.Tensor:
        return counts.sum((1, 2))


class _QScorer(_TokenScorer):
    """Full-vocabulary head: the last token's logit one position earlier, so the last token itself waits."""

    def score(self, chunk: Chunk) -> torch.Tensor:
        tokens = chunk.tokens.to(self.lane.device)
        values = [self.lane.next_logits.to(tokens.device).gather(-1, tokens[..., 0])[..., None]]
        if tokens.shape[-1] > 1:
            for at, q in self.lane.consume_in_parts(tokens[..., :-1], counts=chunk.counts - 1):
                following = tokens[..., at + 1 : at + 1 + q.shape[-2], None].to(q.device)
                values.append(q.gather(-1, following)[..., 0].to(tokens.device))
        last = (chunk.counts - 1).clamp_min(0)[..., None].to(tokens.device)
        return torch.cat(values, -1).gather(-1, last)[..., 0].to(self.device)

    def commit(
        self,
        parents: torch.Tensor,
        rows: torch.Tensor,
        counts: torch.Tensor,
        pending: torch.Tensor,
        identity: bool,
        starts: torch.Tensor | None = None,
    ) -> None:
        self.lane.follow(parents, rows, counts, pending, identity, starts)

    def passes(self, counts: torch.Tensor, survivors: torch.Tensor) -> torch.Tensor:
        return (counts - 1).clamp_min(0).sum((1, 2)) + survivors
