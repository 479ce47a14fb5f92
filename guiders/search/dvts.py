"""Diverse verifier tree search: several chunk searches of one hypothesis each, and the best of their answers."""

import math
from dataclasses import dataclass

import torch

from guiders.search.best_of_n import one_of
from guiders.search.chunk_beam import ChunkBeam
from guiders.search.protocol import Boundary, Search, Selection


@dataclass(frozen=True)
class DVTS(ChunkBeam):
    """W independent trees, in each of which the best of K chunks goes on; the best of the W answers is returned
    (Beeching et al. 2024, "Scaling test-time compute with open models"). W = 1 is
    `ChunkBeam(1, K, L)`, K = 1 best-of-W.

    Args:
        width: W, trees. successors: K. length: L, in tokens (None: no limit, which is best-of-(W·K)).

    Raises:
        GuiderError: W, K or L below 1.
    """

    def divergence(self, tokens: int, limit: int) -> float | None:
        """With m chunks in the response, ``log W − (W−1)/W + m log K`` for W > 1; docs/method.md has the proof."""
        if min(self.width, self.successors) == 1 or self.length is None or self.length >= limit:
            return super().divergence(tokens, limit)
        return one_of(self.width) + math.ceil(tokens / self.length) * math.log(self.successors)

    def select(self, boundary: Boundary) -> Selection:
        """The best row of every tree; equal values go to the lower row."""
        trees = boundary.values.masked_fill(~boundary.valid, -torch.inf).unflatten(1, (self.width, self.successors))
        first = torch.arange(self.width, device=trees.device) * self.successors
        return Selection(first + trees.argmax(-1))

    def choose(self, boundary: Boundary) -> torch.Tensor:
        return Search.choose(self, boundary)
