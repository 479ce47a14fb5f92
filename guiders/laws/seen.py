"""What a search sees at a boundary, made of whole hypotheses by comparing them one with another."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from guiders.search import Boundary, Search


@dataclass(frozen=True)
class Hypothesis:
    """A response so far; `end` is "eos" or "stop" once it has ended. `rows`: which row drew each of its tokens."""

    tokens: tuple[int, ...] = ()
    end: str | None = None
    value: float | None = None
    kl: float = 0.0
    log_ratio: float = 0.0
    log_weight: float = 0.0
    rows: tuple[int, ...] = ()


def rows_seen(
    search: Search,
    survivors: Sequence[Hypothesis],
    rows: Sequence[Hypothesis],
    limit: int,
    chunks: int,
    numbers: Callable[[int], torch.Tensor],
) -> Boundary:
    """The boundary of one prompt after a chunk, as `Boundary` defines it.

    Args:
        survivors: before the chunk; rows: after it, those of one survivor side by side. limit: tokens that a response
            may have. chunks: boundaries so far. numbers: of the search's own.
    """
    successors = len(rows) // len(survivors)
    parents = [h for h in survivors for _ in range(successors)]
    going_on = [not h.end and len(h.tokens) < limit for h in parents]
    valid = [goes or i % successors == 0 or search.copies_ended for i, goes in enumerate(going_on)]
    added = [len(h.tokens) - len(parent.tokens) for h, parent in zip(rows, parents, strict=True)]
    return _seen(search, rows, survivors, valid, added, limit, chunks, numbers)


def survivors_seen(
    search: Search,
    survivors: Sequence[Hypothesis],
    added: list[int],
    limit: int,
    chunks: int,
    numbers: Callable[[int], torch.Tensor],
) -> Boundary:
    """A boundary whose rows are the survivors, as `Search.choose` sees it; `added`: tokens of the last chunk."""
    return _seen(search, survivors, survivors, [True] * len(survivors), added, limit, chunks, numbers)


def _seen(
    search: Search,
    rows: Sequence[Hypothesis],
    before: Sequence[Hypothesis],
    valid: list[bool],
    added: list[int],
    limit: int,
    chunks: int,
    numbers: Callable[[int], torch.Tensor],
) -> Boundary:
    unknown = 0.0 if search.scores == "never" else math.nan
    equal = torch.tensor([[[one.tokens == other.tokens for other in rows] for one in rows]])
    return Boundary(
        values=_line([unknown if h.value is None else h.value for h in rows]),
        before=_line([0.0 if h.value is None else h.value for h in before]),
        log_weights=_line([h.log_weight for h in rows]),
        log_ratio=_line([h.log_ratio for h in rows]),
        valid=torch.tensor([valid]),
        ended=torch.tensor([[h.end is not None for h in rows]]),
        over=torch.tensor([[h.end is not None or len(h.tokens) >= limit for h in rows]]),
        counts=torch.tensor([added]),
        lengths=torch.tensor([[len(h.tokens) for h in rows]]),
        limits=torch.tensor([limit]),
        chunks=torch.tensor([chunks]),
        successors=len(rows) // len(before),
        equal=lambda: equal,
        numbers=numbers,
        responses=lambda: [[list(h.tokens) for h in rows]],
    )


def _line(numbers: list[float]) -> torch.Tensor:
    return torch.tensor([numbers], dtype=torch.float64)
