"""Decoding with guidance.

from guiders import ChunkBeam, Explicit, Guider, Implicit, LM, Sampling, generate

A guider is a base model with token guidance, a value and a search; `generate` decodes prompts with it.
"""

from guiders.classifier import Classifier
from guiders.decode import generate
from guiders.errors import GuiderError
from guiders.guider import Generation, Guider
from guiders.lm import LM
from guiders.sampling import Sampling
from guiders.score import TokenLogProbs, token_log_probs
from guiders.search import BestOfN, ChunkBeam, Sample
from guiders.token import Implicit, QGuidance
from guiders.value import Explicit, ImplicitValue, Reward

__all__ = [
    "LM",
    "BestOfN",
    "ChunkBeam",
    "Classifier",
    "Explicit",
    "Generation",
    "Guider",
    "GuiderError",
    "Implicit",
    "ImplicitValue",
    "QGuidance",
    "Reward",
    "Sample",
    "Sampling",
    "TokenLogProbs",
    "generate",
    "token_log_probs",
]
