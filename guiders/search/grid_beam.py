"""Grid beam search: beams of tokens whose response must hold given phrases."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from guiders.errors import GuiderError
from guiders.models.lm import LM
from guiders.search.protocol import Boundary, Selection
from guiders.search.token_beam import TokenBeam

MISSING = 1e9  # a finished response ranks below all that miss fewer tokens


@dataclass(frozen=True)
class GridBeam(TokenBeam):
    """Beam search whose response holds all phrases (Hokamp and Liu 2017, "Lexically Constrained Decoding for Sequence
    Generation Using Grid Beam Search", arXiv 1704.07138).

    There is a beam of W hypotheses for each number of the phrases' tokens that are covered, from none to all. Besides
    its likeliest tokens, every hypothesis is continued with each token of a phrase, and belongs to the beam of what it
    then covers. Responses finish with all phrases covered; what reaches the token limit without is ranked behind those,
    fewer missing tokens first. Without phrases it is `TokenBeam`.

    Covered are the tokens of phrases that the response holds, wherever and however they came, and the longest beginning
    of another one that it ends in (as Post and Vilar 2018, arXiv 1804.06609, count; Hokamp and Liu count the tokens
    that were placed as a phrase's). Phrases may overlap.

    Args:
        width: W. phrases: texts, in the tokens that the base's tokenizer gives them alone (" good" within a text), or
            lists of ids. patience, length_penalty: as of `TokenBeam`.

    Raises:
        GuiderError: a setting out of range; groups, which it does not have; an empty phrase.
    """

    phrases: Sequence[str | Sequence[int]] = ()
    ids: tuple[tuple[int, ...], ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.groups != 1 or self.diversity:
            raise GuiderError(
                f"grid beam: groups={self.groups} and diversity={self.diversity} are not for it; leave them"
            )
        some = (self.phrases,) if isinstance(self.phrases, str) else self.phrases
        phrases = tuple(dict.fromkeys(one if isinstance(one, str) else tuple(one) for one in some))
        object.__setattr__(self, "phrases", phrases)
        if not all(phrases):
            raise GuiderError("grid beam: phrases has an empty one; leave it out")

    def of(self, base: LM) -> "GridBeam":
        """With the phrases' ids."""
        bound = replace(self)
        texts = [
            base.tokenizer(one, add_special_tokens=False)["input_ids"] if isinstance(one, str) else one
            for one in self.phrases
        ]
        for one, ids in zip(self.phrases, texts, strict=True):
            if not ids or not all(0 <= i < base.config.vocab_size for i in ids):
                raise GuiderError(f"grid beam: {one!r} is no phrase of {base.name}'s tokens; give another one")
        object.__setattr__(bound, "ids", tuple(map(tuple, texts)))
        return bound

    @property
    def banks(self) -> int:
        """Beams: one for every number of covered tokens."""
        return sum(map(len, self.ids)) + 1

    @property
    def survivors(self) -> int:
        """Beam by beam, from nothing covered on; then the finished responses."""
        return self.banks * self.width + self.done

    @property
    def successors(self) -> int:
        return 2 * self.width + len(self.also)

    @property
    def rows(self) -> int:
        return self.banks * self.width

    @property
    def equal_rows(self) -> bool:
        """How many there are is known with the base's tokenizer alone."""
        return False

    @property
    def also(self) -> tuple[int, ...]:
        return tuple(sorted({i for ids in self.ids for i in ids}))

    def select(self, boundary: Boundary) -> Selection:
        """Beam by beam."""
        boundary, n = self._counted(boundary), self.rows * self.successors
        row = torch.arange(n, device=boundary.limits.device)
        alike = (boundary.chunks == 1)[:, None] & (row >= self.successors)  # at the beginning all hypotheses are one
        scores, missing = boundary.log_weights[:, :n].masked_fill(alike, -torch.inf), boundary.values[:, :n]
        parts = []
        for left in reversed(range(self.banks)):
            going, running, ending, finished = self._split(boundary, 0, scores.masked_fill(missing != left, -torch.inf))
            if left:
                finished = finished.masked_fill(
                    boundary.lengths.gather(1, ending) < boundary.limits[:, None], -torch.inf
                )
            parts.append((going, running, ending, finished))
        going, running, ending, finished = (torch.cat(some, 1) for some in zip(*parts, strict=True))
        rows, weights = self._settled(boundary, n, (going, running), (ending, finished))
        return Selection(rows, log_weights=weights, idle=weights.isneginf())

    def choose(self, boundary: Boundary) -> torch.Tensor:
        return super().choose(self._counted(boundary))

    def _ranked(self, boundary: Boundary, rows: torch.Tensor, log_weights: torch.Tensor) -> torch.Tensor:
        return super()._ranked(boundary, rows, log_weights) - MISSING * boundary.values.gather(1, rows)

    def _counted(self, boundary: Boundary) -> Boundary:
        """With the number of tokens that each row misses in the place of values, of which there are none."""
        phrases = ["".join(map(chr, ids)) for ids in self.ids]  # so that Python's own search finds them
        missing = [[_missing("".join(map(chr, row)), phrases) for row in slot] for slot in boundary.responses()]
        return replace(boundary, values=torch.tensor(missing, dtype=torch.float64, device=boundary.limits.device))


def _missing(text: str, phrases: Sequence[str]) -> int:
    """Characters of the phrases that are not covered."""
    others = [phrase for phrase in phrases if phrase not in text]
    begun = (n for phrase in others for n in range(1, len(phrase)) if text.endswith(phrase[:n]))
    return sum(map(len, others)) - max(begun, default=0)
