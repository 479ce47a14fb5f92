"""Chunk-level beam search: every L tokens keep the W best hypotheses, and give each K successors."""

import math
from dataclasses import dataclass

import torch

from guiders.errors import GuiderError
from guiders.search.best_of_n import one_of
from guiders.search.ends import Tokens
from guiders.search.protocol import Boundary, Search, Selection


@dataclass(frozen=True)
class ChunkBeam(Search):
    """Chunk-level beam search (Zhou et al. 2024, "Weak-to-strong search"; Liu et al. 2024, section 3.2).

    W·K rows start from the prompt. Every L tokens, or when all have ended, rows are scored, the best W live on, and
    each is copied K times. Distinct hypotheses come first: a copy never crowds out a different one. A row that has
    ended keeps its tokens and its score, takes one slot and competes at every later selection.

    Args:
        width: W. successors: K. length: L, in tokens (None: no limit, which is best-of-(W·K)).

    Raises:
        GuiderError: W, K or L below 1.
    """

    width: int = 4
    successors: int = 4
    length: int | None = 5

    def __post_init__(self) -> None:
        for name, value in (
            ("width W", self.width),
            ("successors K", self.successors),
            ("chunk length L", self.length),
        ):
            if value is not None and value < 1:
                raise GuiderError(f"chunk beam search: {name}={value} is out of range; it must be 1 or more")

    @property
    def survivors(self) -> int:
        return self.width

    @property
    def ends(self) -> Tokens:
        return Tokens(self.length)

    def divergence(self, tokens: int, limit: int) -> float | None:
        """With m chunks in the response: W = 1, m (log K − (K−1)/K), since every chunk is one of K draws; W > 1,
        log W + m log K, since a response is expected at most W·K^m times its probability among the rows. One chunk
        for all, or K = 1, is one of W·K whole draws. docs/method.md has the proofs.
        """
        if self.successors == 1 or self.length is None or self.length >= limit:
            return one_of(self.width * self.successors)
        chunks = math.ceil(tokens / self.length)
        if self.width == 1:
            return chunks * one_of(self.successors)
        return math.log(self.width) + chunks * math.log(self.successors)

    def select(self, boundary: Boundary) -> Selection:
        """The W best rows of every prompt, best first.

        Equal values go to the lower row; invalid rows come last, copies just before them.
        """
        valid, equal = boundary.valid, boundary.equal()
        order = boundary.values.masked_fill(~valid, -torch.inf).argsort(dim=-1, descending=True, stable=True)
        ranked = equal.gather(1, order[:, :, None].expand_as(equal)).gather(2, order[:, None, :].expand_as(equal))
        copy = (ranked & torch.ones_like(ranked[0]).tril(-1)).any(-1)
        late = copy.long() + 2 * (~valid.gather(1, order)).long()
        return Selection(order.gather(1, late.argsort(dim=-1, stable=True))[:, : self.width])

    def choose(self, boundary: Boundary) -> torch.Tensor:
        """The first survivor: they are in order."""
        return torch.zeros_like(boundary.limits)
