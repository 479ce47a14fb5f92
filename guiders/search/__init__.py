"""Search: which hypotheses live."""

from guiders.search.best_of_n import BestOfN
from guiders.search.best_of_poisson import BestOfPoisson
from guiders.search.cards import CARDS
from guiders.search.chunk_beam import ChunkBeam
from guiders.search.cntp import CNTP
from guiders.search.dvts import DVTS
from guiders.search.ends import Entropy, Punctuation, Tokens
from guiders.search.grid_beam import GridBeam
from guiders.search.last_of_n import LastOfN
from guiders.search.one_of_n import OneOfN
from guiders.search.pessimism import Pessimism
from guiders.search.phi_decoding import PhiDecoding
from guiders.search.protocol import Boundary, ChunkEnd, Search, Selection
from guiders.search.rejection import Rejection
from guiders.search.rejection_in_turn import RejectionInTurn
from guiders.search.released import ReleasedChunkBeam
from guiders.search.sample import Sample
from guiders.search.soft_best_of_n import SoftBestOfN
from guiders.search.speculative_rejection import SpeculativeRejection
from guiders.search.suffix_redraws import SuffixRedraws
from guiders.search.token_beam import TokenBeam
from guiders.search.twisted_smc import TwistedSMC

__all__ = [
    "CARDS",
    "CNTP",
    "DVTS",
    "BestOfN",
    "BestOfPoisson",
    "Boundary",
    "ChunkBeam",
    "ChunkEnd",
    "Entropy",
    "GridBeam",
    "LastOfN",
    "OneOfN",
    "Pessimism",
    "PhiDecoding",
    "Punctuation",
    "Rejection",
    "RejectionInTurn",
    "ReleasedChunkBeam",
    "Sample",
    "Search",
    "Selection",
    "SoftBestOfN",
    "SpeculativeRejection",
    "SuffixRedraws",
    "TokenBeam",
    "Tokens",
    "TwistedSMC",
]
