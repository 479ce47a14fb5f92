"""The random models of one bench, and the guiders that the configuration makes of them."""

import copy
from collections.abc import Sequence

import torch

from guiders import Guider
from harness.bench.settings import Bench
from harness.bench.shapes import SHAPES, made, spread_prompts
from harness.config.compose import written
from harness.models.assemble import assemble
from harness.trials.composed import composed_sweep


class Models:
    """The models of one shape: ``base``, ``tuned``, ``untuned`` and ``value``, by name.

    No model has an end token, so that every variant decodes the same number of tokens.
    """

    def __init__(self, spec: Bench):
        shape, self.base = SHAPES[spec.base], spec.base
        self.vocabulary = spec.vocabulary or shape.vocabulary
        self.dtype, self.device = getattr(torch, spec.dtype), torch.device(spec.device)
        torch.manual_seed(spec.seed)
        self.by_name = made(shape, self.dtype, self.device, self.vocabulary, spec.value_head)

    def with_head(self, kind: str) -> "Models":
        """The same models, but for a value model with another head."""
        other = copy.copy(self)
        value = made(SHAPES[self.base], self.dtype, self.device, self.vocabulary, kind)["value"]
        other.by_name = {**self.by_name, "value": value}
        return other

    def guider(self, method: str, grid: dict) -> Guider:
        """The guider of ``conf/guider/METHOD.yaml`` with these models and these settings."""
        models = [f"model.{name}={name}" for name in self.by_name]
        axes = [written(f"grid.{axis}", value) for axis, value in grid.items()]
        overrides = ["preset=none", "model=hf", "grid=default", f"guider={method}", *models, *axes]
        *_, setting = composed_sweep(overrides).settings
        return assemble(setting.config, lambda spec, place: self.by_name[spec["path"]])

    def parameters(self) -> dict[str, int]:
        """Weights of every model."""
        return {name: sum(p.numel() for p in lm.model.parameters()) for name, lm in self.by_name.items()}

    def prompts(self, count: int, shortest: int, longest: int, seed: int) -> list[list[int]]:
        """Random prompts whose lengths are spread evenly, in an order that is not that of their lengths."""
        return spread_prompts(count, shortest, longest, self.vocabulary, seed)


def typical(prompts: Sequence[list[int]], count: int) -> list[list[int]]:
    """`count` prompts whose lengths stand for all of them: quantiles."""
    ordered = sorted(prompts, key=len)
    count = min(count, len(ordered))
    return [ordered[int((i + 0.5) * len(ordered) / count)] for i in range(count)]
