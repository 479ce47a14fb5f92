"""Which earlier tokens a layer of a model sees: the rule behind its attention mask."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from transformers.masking_utils import sliding_window_overlay

from guiders.errors import GuiderError


@dataclass(frozen=True)
class MaskRule:
    """Which earlier tokens a layer sees, beside that they are earlier.

    Attributes:
        function: ``(row, head, query position, key position) -> bool``, as in `transformers.masking_utils`.
        size: within so many tokens from the beginning of a text, all are seen; None where that is not known.
    """

    function: Callable
    size: int | None = None

    @classmethod
    @cache
    def window(cls, size: int) -> "MaskRule":
        """A token sees itself and the `size` - 1 before it."""
        return cls(sliding_window_overlay(size), size)

    def __call__(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """Of positions ``[rows, n, 1]`` and ``[rows, n or 1, columns]``: ``[rows, n, columns]``."""
        rows = torch.arange(len(query), device=query.device)[:, None, None]
        return self.function(rows, torch.zeros_like(rows), query, key)

    def __getitem__(self, index) -> "MaskRule":
        """The same rule: some models take of a mask the positions that they go on with, which are all of them here."""
        if any(part not in (slice(None), slice(0, None)) for part in index):
            raise GuiderError("it takes its attention mask apart")
        return self
