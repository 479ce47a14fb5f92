"""Search: which hypotheses live."""

from guiders.search.best_of_n import BestOfN
from guiders.search.chunk_beam import ChunkBeam
from guiders.search.ends import Entropy, Punctuation, Tokens
from guiders.search.protocol import Boundary, ChunkEnd, Search, Selection
from guiders.search.released import ReleasedChunkBeam
from guiders.search.sample import Sample
from guiders.search.suffix_redraws import SuffixRedraws
from guiders.search.token_beam import TokenBeam
from guiders.search.twisted_smc import TwistedSMC

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
    "SuffixRedraws",
    "TokenBeam",
    "Tokens",
    "TwistedSMC",
]
