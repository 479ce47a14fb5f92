"""Search: which hypotheses live."""

from guiders.search.best_of_n import BestOfN
from guiders.search.chunk_beam import ChunkBeam
from guiders.search.sample import Sample

__all__ = ["BestOfN", "ChunkBeam", "Sample"]
