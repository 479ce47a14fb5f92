"""Where chunks end: after so many tokens, at punctuation, or where the base is uncertain of what comes next."""

from dataclasses import dataclass

import torch

from guiders.errors import GuiderError
from guiders.models.lm import LM


@dataclass(frozen=True)
class Tokens:
    """After `most` tokens; None: with the response.

    Raises:
        GuiderError: fewer than one.
    """

    most: int | None

    def __post_init__(self) -> None:
        _check_most(self.most)

    @property
    def ragged(self) -> bool:
        return False

    def after(self, base: LM) -> tuple[int, ...]:
        return ()

    def before(self, logits: torch.Tensor, counts: torch.Tensor) -> torch.Tensor | None:
        return None


@dataclass(frozen=True)
class Punctuation:
    """With a token whose text ends in one of the marks, white space aside (a line break counts where it is a mark), or
    after `most` tokens.

    Raises:
        GuiderError: no mark, or fewer than one token.
    """

    marks: str = ".!?\n"
    most: int | None = 64

    def __post_init__(self) -> None:
        _check_most(self.most)
        if not self.marks:
            raise GuiderError("chunks end at punctuation, and no mark is given; set marks, as '.!?'")

    @property
    def ragged(self) -> bool:
        return True

    def after(self, base: LM) -> tuple[int, ...]:
        texts = base.tokenizer.batch_decode([[i] for i in range(len(base.tokenizer))], skip_special_tokens=True)
        blank = "".join(space for space in " \t\r\n" if space not in self.marks)
        return tuple(i for i, text in enumerate(texts) if text.rstrip(blank).endswith(tuple(self.marks)))

    def before(self, logits: torch.Tensor, counts: torch.Tensor) -> torch.Tensor | None:
        return None


@dataclass(frozen=True)
class Entropy:
    """Before a token that the base is uncertain of: its distribution, at temperature 1, has an entropy of at least
    `threshold` nats. With `least` to `most` tokens (CARDS, Li et al. 2025, arXiv 2406.16306).

    Raises:
        GuiderError: a threshold below 0, or no ``1 <= least <= most``.
    """

    threshold: float = 3.0
    least: int = 4
    most: int | None = 64

    def __post_init__(self) -> None:
        _check_most(self.most)
        if not self.threshold >= 0:
            raise GuiderError(f"chunk ends: threshold={self.threshold} is out of range; it must be 0 or more")
        if not 1 <= self.least <= (self.most or self.least):
            raise GuiderError(
                f"chunk ends: least={self.least} is out of range; it must be 1 or more, and at most `most`"
            )

    @property
    def ragged(self) -> bool:
        return True

    def after(self, base: LM) -> tuple[int, ...]:
        return ()

    def before(self, logits: torch.Tensor, counts: torch.Tensor) -> torch.Tensor | None:
        return (entropy(logits) >= self.threshold) & (counts >= self.least)


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """``[...]`` nats of the distribution with logits ``[..., V]``, at temperature 1."""
    log_probs = logits.log_softmax(-1, dtype=torch.float64 if logits.dtype == torch.float64 else torch.float32)
    return torch.special.entr(log_probs.exp()).sum(-1)


def _check_most(most: int | None) -> None:
    if most is not None and most < 1:
        raise GuiderError(f"chunk ends: most={most} is out of range; it must be 1 or more")
