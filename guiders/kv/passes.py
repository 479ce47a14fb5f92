"""What one forward pass does to a segmented cache.

It is of one of four kinds: ``prefill`` (new prompts, one after the other in a single row, written to the prompt
segment), ``history`` (rows are survivors), ``chunk`` (rows are successors) and ``peek`` (alternatives to every row's
next token, all at the same position, each of which sees what the row sees and itself; nothing is written. Rows are
survivors before a chunk's first column, and successors within it).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TypedDict

import torch


class Columns(TypedDict):
    """Columns of the shared segments that a pass reads."""

    prompt: int
    history: int


@dataclass
class Pass:
    """What one forward pass does: its kind, the rows it writes and where their new tokens stand.

    Attributes:
        kind: "prefill", "history", "chunk" or "peek".
        positions: ``[rows, n]`` absolute positions of the new tokens.
        slots, lengths: prefill: the slots of the prompts in the row, and how many tokens each has.
        offset: chunk: the first column written; peek: columns of the chunk that there are.
        column: ``[1]`` the same, where it is known on the device alone: then all columns are attended to, under a mask.
        starts: ``[rows]`` tokens of the history that each row attends to (history: including the new one).
        prompt_lengths: ``[rows]``.
        prompt, history: columns of these segments that any row reads.
        inside: ``[rows]`` chunk of recurrent states: the token is one that the row may keep; None where all are.
    """

    kind: str
    positions: torch.Tensor
    slots: tuple[int, ...] = ()
    lengths: tuple[int, ...] = ()
    offset: int = 0
    column: torch.Tensor | None = None
    starts: torch.Tensor | None = None
    prompt_lengths: torch.Tensor | None = None
    prompt: int = 0
    history: int = 0
    inside: torch.Tensor | None = None

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Where each prompt of a prefill begins and ends in its row."""
        return list(pairwise(accumulate(self.lengths, initial=0)))


def in_a_row(prompts: Sequence[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts one after the other, without padding: tokens and their positions, ``[1, n]`` each."""
    tokens = torch.tensor([[token for prompt in prompts for token in prompt]], device=device)
    return tokens, torch.cat([torch.arange(len(prompt), device=device) for prompt in prompts])[None]


def in_groups(prompts: Sequence[list[int]], some: int) -> Iterator[slice]:
    """Consecutive prompts of at most `some` tokens together, or a single one."""
    start = total = 0
    for index, prompt in enumerate(prompts):
        if index > start and total + len(prompt) > some:
            yield slice(start, index)
            start, total = index, 0
        total += len(prompt)
    if len(prompts):
        yield slice(start, len(prompts))
