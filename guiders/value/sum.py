"""A weighted sum of values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from guiders.errors import GuiderError
from guiders.models.lm import LM
from guiders.value.part import ValuePart
from guiders.value.protocol import Chunk, Reads, Value

if TYPE_CHECKING:
    from guiders.guider import Guider


@dataclass(frozen=True)
class Sum(Value):
    """``Σ_i w_i V_i``: several rewards at once (as fine-grained rewards, Wu et al. 2023, arXiv 2306.01693), or a reward
    and a penalty.

    Args:
        parts: pairs of a value and its weight, any number.

    Raises:
        GuiderError: no parts; one that is no pair of a value and a weight.
    """

    parts: Sequence[tuple[Value, float]]

    def __post_init__(self) -> None:
        for part in self.parts:
            pair = tuple(part) if isinstance(part, Sequence) else (part,)
            if len(pair) != 2 or not hasattr(pair[0], "scorer") or not _finite(pair[1]):
                raise GuiderError(f"sum of values: {part!r} is no pair of a value and a weight; write [value, 1.0]")
        if not self.parts:
            raise GuiderError("sum of values: no parts; give pairs of a value and a weight")
        object.__setattr__(self, "parts", tuple((value, float(weight)) for value, weight in self.parts))

    @property
    def models(self) -> tuple[LM, ...]:
        return tuple(model for value, _ in self.parts for model in getattr(value, "models", ()))

    @property
    def together(self) -> bool:
        return any(getattr(value, "together", False) for value, _ in self.parts)

    @property
    def finished(self) -> "Sum":
        return Sum(tuple((getattr(value, "finished", value), weight) for value, weight in self.parts))

    def check(self) -> None:
        for value, _ in self.parts:
            value.check()

    def reads(self, guider: "Guider") -> tuple[Reads, ...]:
        return tuple(one for value, _ in self.parts for one in value.reads(guider))

    def scorer(self, guider: "Guider", slots: int, columns: int) -> "_SumScorer":
        return _SumScorer(self, guider, slots, columns)

    def rescore(
        self,
        guider: "Guider",
        prompt: object,
        responses: Sequence[Sequence[int]],
        ended: Sequence[bool],
        stop: Sequence[str] = (),
    ) -> list[float]:
        each = [value.rescore(guider, prompt, responses, ended, stop) for value, _ in self.parts]
        weights = [weight for _, weight in self.parts]
        return [sum(w * v for w, v in zip(weights, values, strict=True)) for values in zip(*each, strict=True)]


def _finite(weight: object) -> bool:
    return isinstance(weight, int | float) and math.isfinite(weight)


class _SumScorer:
    """Every part has its own scorer and its own values."""

    def __init__(self, value: Sum, guider: "Guider", slots: int, columns: int):
        self.parts: list[tuple[ValuePart, float]] = []
        self.wants_ratio: tuple[int, int] | None = None
        for one, weight in value.parts:
            part = ValuePart(one, guider, slots, columns, self.wants_ratio)
            self.wants_ratio = part.wants_ratio if self.wants_ratio is None else self.wants_ratio
            self.parts.append((part, weight))
        self.together = any(part.together for part, _ in self.parts)

    @property
    def evaluated(self) -> int:
        return sum(part.evaluated for part, _ in self.parts)

    def admit(self, slots: list[int], prompts: list) -> None:
        for part, _ in self.parts:
            part.admit(slots, prompts)

    def score(self, chunk: Chunk) -> torch.Tensor:
        values = [weight * part.score(chunk) for part, weight in self.parts]
        return sum(values[1:], start=values[0])

    def commit(
        self,
        parents: torch.Tensor,
        rows: torch.Tensor,
        counts: torch.Tensor,
        pending: torch.Tensor,
        identity: bool,
        starts: torch.Tensor | None = None,
    ) -> None:
        for part, _ in self.parts:
            part.commit(parents, rows, counts, pending, identity, starts)

    def keep(self, slots: torch.Tensor) -> None:
        for part, _ in self.parts:
            part.keep(slots)

    def shrink(self, longest: int) -> None:
        for part, _ in self.parts:
            part.shrink(longest)

    def passes(self, counts: torch.Tensor, survivors: torch.Tensor) -> torch.Tensor:
        return torch.stack([part.passes(counts, survivors) for part, _ in self.parts]).sum(0)
