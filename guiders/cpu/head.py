"""The vocabulary head of a model, writing to the same memory at every pass.

A head's logits are by far the largest tensor of a step: 51 MB for 256 rows and 50,000 ids. The C library returns blocks
of that size to the kernel as soon as they are free, and the kernel clears every page of the next one on first touch,
which takes a fifth of the time of the product itself.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch

from guiders.cpu.switch import enabled


class HeadBuffer:
    """Memory for one model's logits; `used` has the model's head write there.

    Only plain linear heads on a CPU do: CUDA's allocator keeps its memory, and a quantised or adapted head has an
    arithmetic of its own.
    """

    def __init__(self, model: torch.nn.Module):
        self.head: torch.nn.Linear | None = None
        head = getattr(model, "score_head", None) or getattr(model, "get_output_embeddings", lambda: None)()
        if type(head) is torch.nn.Linear and head.weight.device.type == "cpu" and "forward" not in vars(head):
            # one output a row is read across passes, and no memory worth the trouble
            self.head = head if head.out_features > 1 and enabled("head") else None
        self.memory: torch.Tensor | None = None

    def used(self) -> AbstractContextManager[None]:
        """A context in which the head's output is overwritten by its next one."""
        return nullcontext() if self.head is None else self._used(self.head)

    @contextmanager
    def _used(self, head: torch.nn.Linear) -> Iterator[None]:
        vars(head)["forward"] = partial(self._forward, head)
        try:
            yield
        finally:
            del vars(head)["forward"]

    def _forward(self, head: torch.nn.Linear, hidden: torch.Tensor) -> torch.Tensor:
        weight, bias = head.weight, head.bias
        rows = hidden.reshape(-1, hidden.shape[-1])
        count = len(rows) * len(weight)
        if self.memory is None or len(self.memory) < count:
            self.memory = rows.new_empty(count)
        logits = self.memory[:count].view(len(rows), -1)
        torch.mm(rows, weight.t(), out=logits)
        if bias is not None:
            logits += bias
        return logits.view(*hidden.shape[:-1], -1)
