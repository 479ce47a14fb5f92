"""A bi-encoder as a value: how well a response fits its prompt, each encoded by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from guiders.errors import GuiderError
from guiders.models.encoder import Encoder
from guiders.models.lm import LM
from guiders.models.prompt import whole_text
from guiders.value.protocol import Value
from guiders.value.rescore import shown
from guiders.value.texts import TextRow, TextsScorer, one_text

if TYPE_CHECKING:
    from guiders.guider import Guider


@dataclass(frozen=True)
class BiEncoder(Value):
    """``⟨e(prompt), e(response)⟩``, the dot product of separately encoded prefix and suffix (RankGen, Krishna et al.
    2022, arXiv 2205.09726). The prompt is encoded once.

    Args:
        encoder: an `Encoder`, or a language or value model, whose mean last hidden state is then the vector.
        prefix, suffix: templates with ``{text}`` of what is encoded; RankGen's are "pre {text}" and "suffi {text}".

    Raises:
        GuiderError: what is no encoder; a template without ``{text}``.
    """

    encoder: Encoder | LM
    prefix: str = "{text}"
    suffix: str = "{text}"

    def __post_init__(self) -> None:
        if not isinstance(self.encoder, Encoder | LM):
            raise GuiderError(
                f"bi-encoder: encoder is a {type(self.encoder).__name__}; load one with Encoder.load(PATH)"
            )
        for name in ("prefix", "suffix"):
            if "{text}" not in getattr(self, name):
                raise GuiderError(
                    f"bi-encoder: {name}={getattr(self, name)!r} lacks {{text}}; put it where the text goes"
                )

    @cached_property
    def encodes(self) -> Encoder:
        return self.encoder if isinstance(self.encoder, Encoder) else Encoder.of(self.encoder)

    def scorer(self, guider: "Guider", slots: int, columns: int) -> "_BiEncoderScorer":
        return _BiEncoderScorer(self, guider.base, slots)

    def rescore(
        self,
        guider: "Guider",
        prompt: object,
        responses: Sequence[Sequence[int]],
        ended: Sequence[bool],
        stop: Sequence[str] = (),
    ) -> list[float]:
        before = self.encodes.embed([self.as_prefix(whole_text(guider.base, prompt))], end=True)[0]
        # one by one: no text is padded for another
        texts = [self.suffix.replace("{text}", shown(guider.base, response, stop)) for response in responses]
        return [float(before @ self.encodes.embed([text])[0]) for text in texts]

    def as_prefix(self, prompt: Any) -> str:
        """A prompt as it is encoded."""
        return self.prefix.replace("{text}", one_text(prompt))


class _BiEncoderScorer(TextsScorer):
    """Every response anew, against its prompt's vector."""

    def __init__(self, value: BiEncoder, base: LM, slots: int):
        super().__init__(base, slots)
        self.value = value

    def prepare(self, prompts: list) -> list[torch.Tensor]:
        if not prompts:
            return []
        return list(self.value.encodes.embed([self.value.as_prefix(prompt) for prompt in prompts], end=True))

    def values(self, rows: list[TextRow]) -> list[tuple[float, int]]:
        encoder = self.value.encodes
        texts = [self.value.suffix.replace("{text}", row.text) for row in rows]
        before = encoder.evaluated
        vectors = encoder.embed(texts)
        self.evaluated += encoder.evaluated - before
        return [
            (float(row.prepared @ vector), encoder.positions(text))
            for row, vector, text in zip(rows, vectors, texts, strict=True)
        ]
