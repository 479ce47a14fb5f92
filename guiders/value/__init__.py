"""Values: what scores a prefix of a response, or a whole one."""

from guiders.value.agreement import Agreement
from guiders.value.bi_encoder import BiEncoder
from guiders.value.calibrated import Calibrated
from guiders.value.explicit import Explicit
from guiders.value.implicit import ImplicitValue
from guiders.value.length import Length
from guiders.value.likelihood import Likelihood
from guiders.value.lookahead import Lookahead
from guiders.value.protocol import Chunk, Reads, Scorer, Value
from guiders.value.reward import Reward
from guiders.value.sum import Sum

__all__ = [
    "Agreement",
    "BiEncoder",
    "Calibrated",
    "Chunk",
    "Explicit",
    "ImplicitValue",
    "Length",
    "Likelihood",
    "Lookahead",
    "Reads",
    "Reward",
    "Scorer",
    "Sum",
    "Value",
]
