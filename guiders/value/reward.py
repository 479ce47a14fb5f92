"""A reward model as a value: a classifier scores the text so far as if it were the whole response."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guiders.kv.exclusive import exclusive
from guiders.models.classifier import Classifier
from guiders.models.lm import LM
from guiders.models.prompt import whole_text
from guiders.value.protocol import Scorer, Value
from guiders.value.rescore import shown
from guiders.value.texts import TextRow, TextsScorer

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


class _RewardScorer(TextsScorer):
    """Every row's text from its beginning at each boundary: a bidirectional classifier has no cache."""

    def __init__(self, model: Classifier, base: LM, slots: int):
        super().__init__(base, slots)
        self.model = model

    def values(self, rows: list[TextRow]) -> list[tuple[float, int]]:
        pairs = [(row.prompt, row.text) for row in rows]
        with exclusive(self.model.model):  # what other threads have it read is not this decoder's
            before = self.model.evaluated
            rewards = self.model.rewards(pairs).tolist()
            self.evaluated += self.model.evaluated - before
        return [(reward, self.model.positions(*pair)) for reward, pair in zip(rewards, pairs, strict=True)]
