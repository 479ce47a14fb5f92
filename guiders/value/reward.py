"""A reward model as a value: a classifier scores the text so far as if it were the whole response."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from guiders.kv.exclusive import exclusive
from guiders.models.classifier import Classifier
from guiders.models.lm import LM
from guiders.models.prompt import whole_text
from guiders.value.protocol import Chunk, Scorer, Value
from guiders.value.rescore import shown

if TYPE_CHECKING:
    from guiders.guider import Guider


@dataclass(frozen=True)
class Reward(Value):
    """The reward of prompt and response as text. Exact for a whole response, as best-of-N asks; for a prefix it is what
    the reward model says of a text that stops there, which nothing has trained it for.

    Args:
        model: a sequence classifier; it shares no vocabulary with the base, as it reads text.
    """

    model: Classifier

    def scorer(self, guider: "Guider", slots: int, columns: int) -> Scorer:
        return _RewardScorer(self.model, guider.base, slots)

    def rescore(
        self,
        guider: "Guider",
        prompt: object,
        responses: Sequence[Sequence[int]],
        ended: Sequence[bool],
        stop: Sequence[str] = (),
    ) -> list[float]:
        asked = whole_text(guider.base, prompt)
        return self.model.rewards([(asked, shown(guider.base, tokens, stop)) for tokens in responses]).tolist()


class _RewardScorer:
    """Every row's text from its beginning at each boundary: a bidirectional classifier has no cache."""

    wants_ratio: int | None = None

    def __init__(self, model: Classifier, base: LM, slots: int):
        self.model, self.base = model, base
        self.prompts: list = [None] * slots
        self._positions = torch.zeros(slots, dtype=torch.long)
        self.evaluated = 0

    def admit(self, slots: list[int], prompts: list) -> None:
        for slot, prompt in zip(slots, prompts, strict=True):
            self.prompts[slot] = whole_text(self.base, prompt)

    def score(self, chunk: Chunk) -> torch.Tensor:
        asked = chunk.asked()
        where, pairs = [], []
        for slot, rows in enumerate(chunk.responses()):
            for row, tokens in enumerate(rows):
                if self.prompts[slot] is not None and asked[slot][row]:
                    where.append((slot, row))
                    pairs.append((self.prompts[slot], chunk.text(tokens)))
        values = torch.zeros(chunk.counts.shape, dtype=torch.float64).flatten(1)
        self._positions.zero_()
        with exclusive(self.model.model):  # what other threads have it read is not this decoder's
            before = self.model.evaluated
            rewards = self.model.rewards(pairs).tolist()
            self.evaluated += self.model.evaluated - before
        for (slot, row), pair, reward in zip(where, pairs, rewards, strict=True):
            values[slot, row] = reward
            self._positions[slot] += self.model.positions(*pair)
        return values.view(chunk.counts.shape).to(chunk.values)

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
        self.prompts = [self.prompts[slot] for slot in slots.tolist()]
        self._positions = self._positions[slots.cpu()]

    def shrink(self, longest: int) -> None:
        pass

    def passes(self, counts: torch.Tensor, survivors: torch.Tensor) -> torch.Tensor:
        return self._positions.to(survivors)
