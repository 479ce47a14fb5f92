"""Search: which hypotheses live."""

from guiders.search.best_of_n import BestOfN
from guiders.search.chunk_beam import ChunkBeam
from guiders.search.ends import Entropy, Punctuation, Tokens
from guiders.search.protocol import Boundary, ChunkEnd, Search, Selection
from guiders.search.released import ReleasedChunkBeam
from guiders.search.sample import Sample

__all__ = [
    "BestOfN",
    "Boundary",
    "ChunkBeam",
    "ChunkEnd",
    "Entropy",
    "Punctuation",
    "ReleasedChunkBeam",
    "Sample",
    "Search",
    "Selection",
    "Tokens",
]
