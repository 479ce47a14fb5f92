"""Values: what scores a prefix of a response, or a whole one."""

from guiders.value.explicit import Explicit
from guiders.value.implicit import ImplicitValue
from guiders.value.scorer import Chunk, Scorer, Value

__all__ = ["Chunk", "Explicit", "ImplicitValue", "Scorer", "Value"]
