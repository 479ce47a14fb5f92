"""Chunk-level beam search as its authors released it."""

from dataclasses import dataclass

from guiders.search.chunk_beam import ChunkBeam
from guiders.search.protocol import Boundary, Selection


@dataclass(frozen=True)
class ReleasedChunkBeam(ChunkBeam):
    """Chunk-level beam search by the authors' released code (github.com/ZHZisZZ/weak-to-strong-search, decoders/cbs.py)
    where it differs from the paper, to reproduce its figures.

    Rows are chosen by value alone, so that an ended hypothesis is copied K times and its copies crowd the beam, and a
    response cut by the token limit is scored with an end-of-text token that it does not have. (The code also scores
    re-tokenised text and draws with transformers' top-k of 50: set ``Sampling(top_k=50)``.)

    Args:
        width, successors, length: see `ChunkBeam`.
    """

    @property
    def copies_ended(self) -> bool:
        return True

    @property
    def scores_cut_with_end(self) -> bool:
        return True

    def select(self, boundary: Boundary) -> Selection:
        """The W best rows of every prompt, best first; equal values go to the lower row."""
        return Selection(boundary.values.argsort(dim=-1, descending=True, stable=True)[:, : self.width])
