"""A reward model as a value: a classifier scores the text so far as if it were the whole response."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from guiders.kv.exclusive import exclusive
from guiders.models.classifier import Classifier
from guiders.models.prompt import LongPrompt, as_text
from guiders.value.protocol import Value
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

    def scorer(self, guider: "Guider", slots: int, columns: int):
        return _RewardScorer(self.model, guider.base, slots)

    def rescore(
        self,
        guider: "Guider",
        prompt: object,
        responses: Sequence[Sequence[int]],
        ended: Sequence[bool],
        stop: Sequence[str] = (),
    ) -> list[float]:
        asked = as_text(guider.base, prompt)
        asked = asked.prompt if isinstance(asked, LongPrompt) else asked
        return self.model.rewards([(asked, shown(guider.base, tokens, stop)) for tokens in responses]).tolist()


class _RewardScorer:
    """Every row's text from its beginning at each boundary: a bidirectional classifier has no cache."""

    wants_ratio = None

    def __init__(self, model: Classifier, base, slots: int):
        self.model, self.base = model, base
        self.prompts: list = [None] * slots
        self._positions = torch.zeros(slots, dtype=torch.long)
        self.evaluated = 0

    def admit(self, slots, prompts):
        for slot, prompt in zip(slots, prompts, strict=True):
            prompt = as_text(self.base, prompt)
            self.prompts[slot] = prompt.prompt if isinstance(prompt, LongPrompt) else prompt

    def score(self, chunk):
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

    def commit(self, parents, rows, counts, pending, identity, starts=None):
        pass

    def keep(self, slots):
        self.prompts = [self.prompts[slot] for slot in slots.tolist()]
        self._positions = self._positions[slots.cpu()]

    def shrink(self, longest):
        pass

    def passes(self, counts, survivors):
        return self._positions.to(survivors)
