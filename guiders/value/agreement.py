"""Agreement with the prompt's other responses: minimum Bayes risk and self-consistency."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guiders.errors import GuiderError
from guiders.models.lm import LM
from guiders.value.protocol import Chunk, Value
from guiders.value.rescore import shown
from guiders.value.texts import TextRow, TextsScorer, by_slot

if TYPE_CHECKING:
    from guiders.guider import Guider


def exact(one: str, other: str) -> float:
    """1 where two texts are the same, white space and case aside."""
    return float(one.lower().split() == other.lower().split())


def word_f1(one: str, other: str) -> float:
    """F1 of the two texts' words, as often as each occurs (ROUGE-1's F measure without stemming): 0 to 1."""
    left, right = (Counter(text.lower().split()) for text in (one, other))
    if not left or not right:
        return float(left == right)
    shared = sum((left & right).values())
    return 2 * shared / (sum(left.values()) + sum(right.values()))


SIMILARITIES: dict[str, Callable[[str, str], float]] = {"exact": exact, "word_f1": word_f1}


@dataclass(frozen=True)
class Agreement(Value):
    """The mean similarity of a response to the prompt's other rows, ``1/(N−1) Σ_{j≠i} u(y_i, y_j)``.

    With best-of-N this is sampling-based minimum Bayes risk decoding (Eikema and Aziz 2022, arXiv 2108.04718); with
    exact matches of extracted answers it is the plurality vote of self-consistency (Wang et al. 2023, arXiv
    2203.11171). One or two rows agree equally, and the first is taken.

    Args:
        similarity: "exact", "word_f1", or a function of two texts.
        answer: a regular expression; what is compared is the first group (or all) of its last match in a response, and
            a response without one agrees with nothing. None: whole texts.

    Raises:
        GuiderError: an unknown similarity; an expression that does not parse.
    """

    similarity: str | Callable[[str, str], float] = "word_f1"
    answer: str | None = None

    def __post_init__(self) -> None:
        if not callable(self.similarity) and self.similarity not in SIMILARITIES:
            known = ", ".join(SIMILARITIES)
            raise GuiderError(f"agreement: similarity={self.similarity!r} is unknown; choose one of {known}")
        try:
            re.compile(self.answer or "")
        except re.error as error:
            raise GuiderError(f"agreement: answer={self.answer!r} does not parse ({error}); mend it") from None

    @property
    def together(self) -> bool:
        return True

    def agreements(self, texts: Sequence[str]) -> list[float]:
        """Of every text with the others, 0 where there are none."""
        answers = [self._answer(text) for text in texts]
        measure = self.similarity if callable(self.similarity) else SIMILARITIES[self.similarity]
        counts = Counter(answers)
        # equal texts, of which there are many, are compared once
        alike: dict[tuple[str | None, str | None], float] = {
            (a, b): float(measure(a, b)) for a in counts for b in counts if a is not None and b is not None
        }
        found = []
        for answer in answers:
            total = sum(count * alike.get((answer, other), 0.0) for other, count in counts.items())
            own = alike.get((answer, answer), 0.0)
            found.append((total - own) / max(1, len(texts) - 1))
        return found

    def _answer(self, text: str) -> str | None:
        if self.answer is None:
            return text
        matches = list(re.finditer(self.answer, text))
        if not matches:
            return None
        last = matches[-1]
        return last[1] if last.re.groups else last[0]

    def scorer(self, guider: "Guider", slots: int, columns: int) -> "_AgreementScorer":
        return _AgreementScorer(self, guider.base, slots)

    def rescore(
        self,
        guider: "Guider",
        prompt: object,
        responses: Sequence[Sequence[int]],
        ended: Sequence[bool],
        stop: Sequence[str] = (),
    ) -> list[float]:
        return self.agreements([shown(guider.base, response, stop) for response in responses])


class _AgreementScorer(TextsScorer):
    """All rows of a prompt at once, with those that ended before; no model reads anything."""

    together = True

    def __init__(self, value: Agreement, base: LM, slots: int):
        super().__init__(base, slots)
        self.value = value

    def _rows(self, chunk: Chunk) -> list[TextRow]:
        # of a survivor that has ended only the first row is a hypothesis
        added = chunk.counts > 0
        added[..., 0] = True
        kept = added.flatten(1).tolist()
        return [row for row in super()._rows(chunk) if kept[row.slot][row.row]]

    def values(self, rows: list[TextRow]) -> list[tuple[float, int]]:
        return [(value, 0) for some in by_slot(rows) for value in self.value.agreements([row.text for row in some])]
