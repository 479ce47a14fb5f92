"""Which ids a response already has."""

import torch

from guiders.token.protocol import View


def seen(view: View, window: int | None = None) -> torch.Tensor:
    """Is an id among the response's tokens, or among its last `window` ones? ``[P, S, K, V]``."""
    tokens, lengths = view.tokens()
    place = torch.arange(tokens.shape[-1], device=tokens.device)
    counted = place < lengths[..., None]
    if window is not None:
        counted = counted & (place >= lengths[..., None] - window)
    zeros = torch.zeros(view.guided.shape, dtype=torch.int32, device=tokens.device)
    return zeros.scatter_add(-1, tokens, counted.to(zeros.dtype)) > 0
