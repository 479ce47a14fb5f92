"""Values: what scores a prefix of a response, or a whole one."""

from guiders.value.explicit import Explicit
from guiders.value.implicit import ImplicitValue
from guiders.value.reward import Reward
from guiders.value.scorer import Chunk, Scorer, Value

__all__ = ["Chunk", "Explicit", "ImplicitValue", "Reward", "Scorer", "Value"]
