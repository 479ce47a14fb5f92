"""Activation steering: a direction between two sets of texts, added to the hidden states of one layer."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from guiders.errors import GuiderError
from guiders.models.lm import LM
from guiders.models.steering import steered
from guiders.token.implicit import check_weight
from guiders.token.instead import Instead


@dataclass(frozen=True)
class Steered(Instead):
    """The policy adds ``λ d`` to the output of one layer at every token, where d is the mean of that layer's hidden
    states at the last token of the positive texts less that of the negative ones (Rimsky et al. 2024, arXiv
    2312.06681). The weights are the model's own, and there is no second copy of them.

    Args:
        model: the model that is steered. positive, negative: texts, or the path of a JSON list of them.
        layer: which layer's output, from 1. weight: λ; 0 is the model.

    Raises:
        GuiderError: the weight is not a finite number; no texts; once the weights are read, no such layer.
    """

    model: LM
    positive: Sequence[str] | str
    negative: Sequence[str] | str
    layer: int = 1
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_weight(self.weight)
        for name in ("positive", "negative"):
            object.__setattr__(self, name, _texts(name, getattr(self, name)))
        if self.layer < 1:
            raise GuiderError(f"steering: layer={self.layer} is out of range; it must be 1 or more")

    @cached_property
    def policy(self) -> LM:
        """The model with the direction; it is measured when first run."""
        return steered(self.model, self.positive, self.negative, self.layer, self.weight)


def _texts(name: str, given: Sequence[str] | str) -> tuple[str, ...]:
    read = given
    if isinstance(given, str):
        try:
            read = json.loads(Path(given).expanduser().read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            why = str(error).strip().splitlines()[0]
            raise GuiderError(f"steering: {name}={given}: {why}; give a JSON list of texts") from None
    if isinstance(read, (str, dict)) or not read or not all(isinstance(text, str) for text in read):
        raise GuiderError(f"steering: {name} has no texts; give a list of at least one")
    return tuple(read)
