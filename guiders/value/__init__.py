"""Values: what scores a prefix of a response, or a whole one."""

from guiders.value.explicit import Explicit
from guiders.value.implicit import ImplicitValue
from guiders.value.length import Length
from guiders.value.likelihood import Likelihood
from guiders.value.protocol import Chunk, Reads, Scorer, Value
from guiders.value.reward import Reward
from guiders.value.sum import Sum

__all__ = ["Chunk", "Explicit", "ImplicitValue", "Length", "Likelihood", "Reads", "Reward", "Scorer", "Sum", "Value"]
