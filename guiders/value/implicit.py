"""Implicit value: the summed log-probability difference of a tuned and an untuned model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from guiders.models.heads import check_language_model
from guiders.models.lm import LM
from guiders.models.vocab import first_difference
from guiders.value.protocol import Chunk, Reads, Scorer, Value
from guiders.value.rescore import summed, whole_texts
from guiders.value.summed import SummedScorer
from guiders.value.text import TextScorer

if TYPE_CHECKING:
    from guiders.guider import Guider


@dataclass(frozen=True)
class ImplicitValue(Value):
    """``Σ_t log π⁺(y_t|x, y<t) − log π⁻(y_t|x, y<t)`` over the response's tokens (Rafailov et al. 2023; Zhou et al.
    2024, eq. 9).

    Where both models step anyway, as the token guide's or as the base, the value falls out of that and costs nothing.

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
            [summed(*whole) for whole in whole_texts(lm, guider, prompt, responses, ended, stop, by_text)]
            for lm in self.models
        )
        return [one - other for one, other in zip(tuned, untuned, strict=True)]

    def _guiding(self, guider: "Guider") -> tuple[int, int] | None:
        """The places of this pair among the guider's models, where both step anyway; or None."""
        stepping = guider.models
        if self.tuned not in stepping or self.untuned not in stepping:
            return None
        return stepping.index(self.tuned), stepping.index(self.untuned)

    def scorer(self, guider: "Guider", slots: int, columns: int) -> Scorer:
        pair = [self.tuned, self.untuned]
        lanes = self._guiding(guider)
        # an end token put after a row that was cut was never stepped: guidance says nothing of it
        if lanes is not None and not guider.search.scores_cut_with_end and not guider.search.revises:
            return _FromGuidance(lanes)
        if any(first_difference(guider.base.tokenizer, lm.tokenizer) for lm in pair):
            return TextScorer(guider.base, pair, [1.0, -1.0], "log_prob", slots, guider.search)
        return SummedScorer(pair, [1.0, -1.0], slots, guider.search, columns, guider.base.device)


class _FromGuidance(Scorer):
    """Both models step with the base, as a token guide's: their differences are already there."""

    evaluated: int = 0

    def __init__(self, lanes: tuple[int, int]):
        self.wants_ratio: tuple[int, int] | None = lanes

    def score(self, chunk: Chunk) -> torch.Tensor:
        assert chunk.log_ratio is not None  # as `wants_ratio` asked
        return chunk.values[..., None] + chunk.log_ratio
