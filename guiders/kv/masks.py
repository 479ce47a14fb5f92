"""Which tokens a layer sees: the rule behind a model's attention mask, which can be asked about any two positions.

The mask itself is a table for one row of tokens; the decoder's rows lie in three segments, each from another position
on. transformers makes every mask from a function of positions, which is what is kept here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from transformers.masking_utils import causal_mask_function, sliding_window_overlay

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

    def __getitem__(self, index: tuple[slice, ...]) -> "MaskRule":
        """The same rule: some models take of a mask the positions that they go on with, which are all of them here."""
        if any(part not in (slice(None), slice(0, None)) for part in index):
            raise GuiderError("it takes its attention mask apart")
        return self


def segment_mask(
    *args: object,
    mask_function: Callable = causal_mask_function,
    local_size: int | None = None,
    allow_is_causal_skip: bool = True,
    **kwargs: object,
) -> MaskRule | None:
    """What a model's mask says, as a rule for any two positions; None where every earlier token is seen.

    One of transformers' mask functions. `local_size`: tokens of the window or the chunk. `allow_is_causal_skip` is
    False where something else than these is laid over the mask (blocks of an image, packed texts, a model's own).

    Raises:
        GuiderError: the mask depends on more than positions.
    """
    if not allow_is_causal_skip:
        raise GuiderError("it masks by more than positions")
    return None if mask_function is causal_mask_function else MaskRule(mask_function, local_size)
