"""Alternatives to the next token that a lane reads and does not keep."""

from typing import TYPE_CHECKING

import torch

from guiders.errors import GuiderError
from guiders.kv.passes import Pass

if TYPE_CHECKING:
    from guiders.kv.lane import Lane


def peek(lane: "Lane", tokens: torch.Tensor) -> torch.Tensor:
    """Logits after m alternatives to every row's next token, which are read and not kept: the cache, and what the
    last pass put out, are as they were.

    Args:
        tokens: ``[P, S, K, m]``, or ``[P, S, 1, m]`` before the chunk's first token, which successors share.

    Returns:
        ``[P, S, K or 1, m, V]``, in memory of its own.

    Raises:
        GuiderError: a lane of fixed addresses, which does not know its column on the host.
    """
    if lane.column is not None:
        raise GuiderError(f"{lane.lm.name}: peeks can't be captured as CUDA graphs; leave graphs off")
    asked, tokens = tokens.shape, tokens.to(lane.device)
    if not lane.offset:
        tokens = tokens.flatten(2)[:, :, None]  # successors are one still: their alternatives are a survivor's
    each, m = tokens.shape[2:]
    # a recurrent layer has one state for a row: one alternative at a time
    parts = [_peek(lane, some, each) for some in tokens.split(1 if lane.recurrent else m, -1)]
    return torch.cat(parts, -2).view(*asked, -1)


def _peek(lane: "Lane", tokens: torch.Tensor, each: int) -> torch.Tensor:
    """See `peek`; each: rows of a survivor."""
    rows, m = tokens[..., 0].numel(), tokens.shape[-1]
    lengths = lane._survivor_lengths().repeat_interleave(each, 1).reshape(-1)
    starts = lane.starts.repeat_interleave(each, 1).reshape(-1)
    positions = (lengths + starts + lane.offset)[:, None].expand(-1, m)
    now = Pass("peek", positions, offset=lane.offset, starts=starts, prompt_lengths=lengths, **lane._read())
    lane.peeked += rows * m
    return lane._forward(tokens.reshape(rows, m), now, kept=False).view(*tokens.shape, -1)
