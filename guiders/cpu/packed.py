"""Weights in the layout of the matrix library, for passes of a shape that comes again and again.

Before it multiplies, MKL copies a weight into the order in which its kernel reads it. A decoder multiplies the same
weights with the same number of rows at every step: packed once, products are a tenth faster at 256 rows and half as
fast again at 16. It is how torch's own compiler freezes models for a CPU.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from transformers.pytorch_utils import Conv1D

from guiders.cpu.switch import enabled

# Positions read in passes of one shape before its weights are packed: packing takes about as long as they would gain.
AFTER = 4096
MOST_BYTES = 1 << 30  # of one model's packed copies


class PackedWeights:
    """The linear layers of one model, packed for the number of rows that most of its passes have.

    Only plain layers in float32 on a CPU: others are quantised or adapted, or have a library of their own. Packing
    happens by itself, and the layers are as they were outside of `used`.

    Args:
        besides: a layer that has a memory of its own to write to (see `guiders.cpu.head`).
    """

    def __init__(self, model: torch.nn.Module, besides: torch.nn.Module | None = None):
        self.layers = [layer for layer in _layers(model) if layer is not besides] if enabled("packed") else []
        self.read: Counter = Counter()  # positions, by the rows of their passes
        self.rows: int | None = None
        self.forwards: list[Callable[[torch.Tensor], torch.Tensor]] = []

    def used(self, rows: int) -> AbstractContextManager[None]:
        """A context in which the layers multiply by packed weights, where there are some for so many rows."""
        if not self.layers:
            return nullcontext()
        self.read[rows] += rows
        if rows != self.rows and self.read[rows] >= AFTER and self.read[rows] > self.read[self.rows]:
            self.rows, self.forwards = rows, [_packed(layer, rows) for layer in self.layers]
        return self._used() if rows == self.rows else nullcontext()

    def forget(self) -> None:
        """Other shapes are coming."""
        self.read.clear()

    @contextmanager
    def _used(self) -> Iterator[None]:
        try:
            for layer, forward in zip(self.layers, self.forwards, strict=True):
                vars(layer)["forward"] = forward
            yield
        finally:
            for layer in self.layers:
                vars(layer).pop("forward", None)


def _layers(model: torch.nn.Module) -> list[torch.nn.Linear | Conv1D]:
    """The layers that can be packed; none where they are too many."""
    if not torch.backends.mkl.is_available() or not hasattr(torch.ops.mkl, "_mkl_linear"):
        return []
    found = [
        m
        for m in model.modules()
        if (type(m) is torch.nn.Linear or type(m) is Conv1D)
        and m.weight.device.type == "cpu"
        and m.weight.dtype == torch.float32
        and "forward" not in vars(m)  # accelerate's hooks
    ]
    size = sum(m.weight.nbytes for m in found)
    return found if size <= MOST_BYTES else []


def _packed(layer: torch.nn.Linear | Conv1D, rows: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """The layer's forward function with packed weights, for inputs of so many rows in all."""
    weight = layer.weight.t() if isinstance(layer, Conv1D) else layer.weight  # [out, in]
    packed = torch.ops.mkl._mkl_reorder_linear_weight(weight.contiguous(), rows)
    bias, plain = layer.bias, layer.forward

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        if inputs.numel() != rows * inputs.shape[-1]:  # a head that reads the last positions only
            return plain(inputs)
        return torch.ops.mkl._mkl_linear(inputs, packed, weight, bias, rows)

    return forward
