"""Values: what scores a prefix of a response, or a whole one."""

from guiders.value.explicit import Explicit
from guiders.value.implicit import ImplicitValue
from guiders.value.protocol import Chunk, Reads, Scorer, Value
from guiders.value.reward import Reward

__all__ = ["Chunk", "Explicit", "ImplicitValue", "Reads", "Reward", "Scorer", "Value"]
