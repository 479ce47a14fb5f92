"""Log-probabilities of given tokens: the logit less the normaliser."""

from collections.abc import Iterator

import torch

BLOCK = 1 << 17  # logits that are worked on together on a CPU: a few tensors of this size fit into its cache


def row_blocks(rows: int, vocabulary: int, device: torch.device) -> Iterator[slice]:
    """Rows that are worked on together: few enough to stay in a CPU's cache, all of them on other devices."""
    some = max(1, BLOCK // vocabulary) if device.type == "cpu" else rows
    for start in range(0, rows, some):
        yield slice(start, start + some)


def log_probs(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """``log_softmax(logits)`` at the tokens: ``[..., V]`` and ``[..., m]`` -> ``[..., m]``.

    Half precision is widened first: a normaliser rounded to three digits would be most of what two models differ by.
    """
    rows, chosen = logits.flatten(0, -2), tokens.flatten(0, -2)
    wide = torch.promote_types(logits.dtype, torch.float32)
    parts = []
    for some in row_blocks(len(rows), rows.shape[-1], rows.device):
        block = rows[some].to(wide)
        parts.append(block.gather(-1, chosen[some]) - block.logsumexp(-1, keepdim=True))
    return torch.cat(parts).view(tokens.shape)
