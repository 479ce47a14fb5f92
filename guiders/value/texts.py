"""Values that read the texts of responses anew at every boundary: nothing of them is cached."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from guiders.models.lm import LM
from guiders.models.prompt import whole_text
from guiders.value.protocol import Chunk, Scorer


@dataclass(frozen=True)
class TextRow:
    """A response as a value that reads texts sees it.

    Attributes:
        slot, row: where it stands in the decoder.
        prompt: a text or messages. asked: the prompt as it was given to the decoder.
        prepared: what `TextsScorer.prepare` made of the prompt.
        tokens: of the base, an end token included. text: as its reader sees it.
        ended: with an end token or a stop string. over: ended, or at the token limit.
        stop: strings that end a response.
    """

    slot: int
    row: int
    prompt: Any
    asked: Any
    prepared: Any
    tokens: list[int] = field(repr=False)
    text: str
    ended: bool
    over: bool
    stop: tuple[str, ...]


class TextsScorer(Scorer):
    """Gives the rows that need a value to `values`, all slots at once.

    Args:
        base: whose tokens the responses are.

    Attributes:
        evaluated: token positions that were computed; subclasses count.
    """

    wants_ratio: tuple[int, int] | None = None

    def __init__(self, base: LM, slots: int):
        self.base = base
        self.asked: list[Any] = [None] * slots
        self.prepared: list[Any] = [None] * slots
        self._positions = torch.zeros(slots, dtype=torch.long)
        self.evaluated = 0

    @abstractmethod
    def values(self, rows: list[TextRow]) -> list[tuple[float, int]]:
        """The value of every row, and the token positions that it needed; the rows of a slot stand together."""

    def prepare(self, prompts: list) -> list[Any]:
        """What is worked out of a new prompt once; prompts are texts or messages."""
        return [None] * len(prompts)

    def admit(self, slots: list[int], prompts: list) -> None:
        prepared = self.prepare([whole_text(self.base, prompt) for prompt in prompts])
        for slot, prompt, made in zip(slots, prompts, prepared, strict=True):
            self.asked[slot], self.prepared[slot] = prompt, made

    def score(self, chunk: Chunk) -> torch.Tensor:
        rows = self._rows(chunk)
        values = torch.zeros(chunk.counts.shape, dtype=torch.float64).flatten(1)
        self._positions.zero_()
        for row, (value, positions) in zip(rows, self.values(rows) if rows else (), strict=True):
            values[row.slot, row.row] = value
            self._positions[row.slot] += positions
        return values.view(chunk.counts.shape).to(chunk.values)

    def _rows(self, chunk: Chunk) -> list[TextRow]:
        wanted, ended = chunk.asked(), chunk.ended.flatten(1).tolist()
        over = ended if chunk.over is None else chunk.over.flatten(1).tolist()
        found = []
        for slot, responses in enumerate(chunk.responses()):
            if self.asked[slot] is None:
                continue
            prompt = whole_text(self.base, self.asked[slot])
            for row, tokens in enumerate(responses):
                if wanted[slot][row]:
                    seen = (prompt, self.asked[slot], self.prepared[slot], tokens, chunk.text(tokens))
                    found.append(TextRow(slot, row, *seen, ended[slot][row], over[slot][row], chunk.stop))
        return found

    def keep(self, slots: torch.Tensor) -> None:
        kept = slots.tolist()
        self.asked, self.prepared = [self.asked[slot] for slot in kept], [self.prepared[slot] for slot in kept]
        self._positions = self._positions[slots.cpu()]

    def passes(self, counts: torch.Tensor, survivors: torch.Tensor) -> torch.Tensor:
        return self._positions.to(survivors)


def one_text(prompt: Any) -> str:
    """A text, or messages one after the other."""
    return prompt if isinstance(prompt, str) else "\n\n".join(str(message["content"]) for message in prompt)


def by_slot(rows: Sequence[TextRow]) -> list[list[TextRow]]:
    """The rows of each prompt, in order."""
    slots: dict[int, list[TextRow]] = {}
    for row in rows:
        slots.setdefault(row.slot, []).append(row)
    return list(slots.values())
