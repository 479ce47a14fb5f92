"""The token guides with a view and a memory, over the slots of one decoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch

from guiders.errors import GuiderError
from guiders.models.lm import LM
from guiders.sampling import Sampling, uniforms
from guiders.token.protocol import GuideState, View

if TYPE_CHECKING:
    from guiders.guider import Guider

ALTERNATE = 1 << 20  # between the hypothesis numbers of one row's several uniform numbers: more rows than there are


class Peeks(Protocol):
    """What reads alternatives: a lane."""

    def peek(self, tokens: torch.Tensor) -> torch.Tensor: ...


@dataclass(frozen=True)
class SoFar:
    """What the survivors have at the beginning of a chunk.

    Attributes:
        tokens: ``[P, S, T]``; lengths: ``[P, S]`` how many of them are a survivor's own.
        keys: ``[P]`` of the prompts' random numbers. clock: ``[P]`` columns that the slot has been stepped.
    """

    tokens: torch.Tensor
    lengths: torch.Tensor
    keys: torch.Tensor
    clock: torch.Tensor


class Guidance:
    """States of all guides with a memory, asked one after the other.

    Args:
        lanes: of ``guider.models``, in that order. slots: P.

    Attributes:
        peeked: ``[P]`` positions that running rows have peeked at since `begin`.
    """

    def __init__(self, guider: "Guider", sampling: Sampling, lanes: Sequence[Peeks], slots: int):
        self.guider, self.lanes, self.temperature = guider, lanes, sampling.temperature
        self.states: list[GuideState] = [guide.state(guider, slots) for guide in guider.remembering]
        self.streams = [
            replace(sampling, purpose=f"{sampling.purpose}/guide {place}").stream for place in range(len(self.states))
        ]
        self.places = [guider.places(guide) for guide in guider.remembering]  # of its own models among the lanes
        self.views: list[View] = []

    def begin(self, so_far: SoFar) -> None:
        """A chunk begins."""
        self.so_far = so_far
        self.peeked = torch.zeros_like(so_far.keys)

    def guide(
        self, logits: Sequence[torch.Tensor], tokens: torch.Tensor, counts: torch.Tensor, running: torch.Tensor
    ) -> torch.Tensor:
        """Guided logits of every row, in a tensor of their own.

        Args:
            logits: of each lane, ``[P, S, V]`` at a chunk's first column and ``[P, S, K, V]`` later.
            tokens: ``[P, S, K, t]`` that the chunk's rows have drawn; counts, running: ``[P, S, K]``.

        Returns:
            of the shape of ``logits[0]``, over the shared vocabulary.

        Raises:
            GuiderError: a guide gives logits of another shape.
        """
        first = logits[0].dim() == 3
        if first:
            counts, running, tokens = counts[..., :1], running[..., :1], tokens[..., :1, :]
        shown = [x.unsqueeze(2) if first else x for x in logits]
        guided = self.guider.combine(shown)
        width = guided.shape[-1]
        base = shown[0][..., :width].to(guided.dtype)
        self.views = []
        for guide, state, places, stream in zip(
            self.guider.remembering, self.states, self.places, self.streams, strict=True
        ):
            view = View(
                base=base,
                guided=guided,
                own=tuple(shown[place][..., :width].to(guided) for place in places),
                step=self.so_far.lengths[..., None] + counts,
                running=running,
                tokens=partial(self._tokens, tokens, counts),
                numbers=partial(self._numbers, stream, counts.shape, tokens.shape[-1]),
                peek=partial(self._peek, (0, *places), running, width),
                temperature=self.temperature,
            )
            guided = state.guide(view)
            if guided.shape != base.shape:
                shapes = f"of shape {tuple(guided.shape)}, not {tuple(base.shape)}"
                raise GuiderError(f"{type(guide).__name__} gives guided logits {shapes}; give one for every id")
            self.views.append(view)
        if guided.untyped_storage().data_ptr() == base.untyped_storage().data_ptr():
            guided = guided.clone()  # the draw overwrites it, and the base is still to be compared with
        return guided[:, :, 0] if first else guided

    def weigh(self, tokens: torch.Tensor) -> torch.Tensor | None:
        """The sum of all guides' log-weights of the tokens drawn: ``[P, S, K]``; None where none weighs."""
        found = [state.weigh(view, tokens) for state, view in zip(self.states, self.views, strict=True)]
        weights = [x for x in found if x is not None]
        return sum(weights[1:], weights[0]) if weights else None

    def _tokens(self, tokens: torch.Tensor, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `View.tokens`."""
        old, lengths = self.so_far.tokens, self.so_far.lengths
        old = old.masked_fill(torch.arange(old.shape[-1], device=old.device) >= lengths[..., None], 0)
        old = old[:, :, None].expand(*counts.shape, -1)
        together = torch.cat([old, torch.zeros_like(tokens)], -1)
        where = lengths[:, :, None, None] + torch.arange(tokens.shape[-1], device=tokens.device)
        together = together.scatter(-1, where.expand(tokens.shape), tokens)
        return together, lengths[..., None] + counts

    def _numbers(self, stream: int, shape: torch.Size, column: int, m: int) -> torch.Tensor:
        """See `View.numbers`: keyed as the draw's, by a row's place among the S·K and the columns stepped."""
        device = self.so_far.keys.device
        _, survivors, spread = shape
        each = self.guider.search.successors
        rows = torch.arange(survivors, device=device)[:, None] * each + torch.arange(spread, device=device)
        return self.numbered(stream, rows, column, m)

    def numbered(self, stream: int, rows: torch.Tensor, column: int, m: int) -> torch.Tensor:
        """Numbers ``[P, S, K, m]`` of the rows ``[S, K]`` at a column of the chunk."""
        hypotheses = rows[..., None] + ALTERNATE * torch.arange(m, device=rows.device)
        steps = (self.so_far.clock + column).view(-1, 1, 1, 1)
        return uniforms(stream, self.so_far.keys.view(-1, 1, 1, 1), hypotheses, steps)

    def _peek(
        self, places: tuple[int, ...], running: torch.Tensor, width: int, others: torch.Tensor, model: int = 0
    ) -> torch.Tensor:
        """See `View.peek`."""
        self.peeked = self.peeked + others.shape[-1] * running.sum((1, 2))
        logits = self.lanes[places[model]].peek(others)[..., :width]
        return logits.to(others.device, torch.promote_types(logits.dtype, torch.float32))

    # What all states are told of
    def admit(self, slots: list[int], prompts: list, documents: list[Mapping[str, Any] | None] | None = None) -> None:
        for state in self.states:
            state.admit(slots, prompts)
            if documents is not None:
                state.documents(slots, documents)

    def commit(self, parents: torch.Tensor, rows: torch.Tensor, counts: torch.Tensor, identity: bool) -> None:
        for state in self.states:
            state.commit(parents, rows, counts, identity)

    def keep(self, slots: torch.Tensor) -> None:
        for state in self.states:
            state.keep(slots)

    def shrink(self, longest: int) -> None:
        for state in self.states:
            state.shrink(longest)

    def notes(self, slot: int, survivor: int) -> dict[str, float]:
        """What all guides say of a finished response; a later guide's word counts."""
        return {name: said for state in self.states for name, said in state.notes(slot, survivor).items()}

    def reason(self, slot: int, tokens: list[int], reason: str) -> str:
        """Why a slot's finished response ended, by `GuideState.reason` of each guide."""
        for state in self.states:
            reason = state.reason(slot, tokens, reason)
        return reason

    @property
    def evaluated(self) -> int:
        """Positions that states' own models have computed so far (`GuideState.evaluated`)."""
        return sum(getattr(state, "evaluated", 0) for state in self.states)

    def passes(self, counts: torch.Tensor, survivors: torch.Tensor) -> torch.Tensor:
        """Positions that a chunk needed beside the lanes' own steps: ``[P]``, peeks among them."""
        return sum((state.passes(counts, survivors) for state in self.states), self.peeked.clone())


def finish_reason(base: LM, guidance: Guidance | None, slot: int, tokens: list[int], ended: bool) -> str:
    """Why a slot's response ended (`Generation.finish_reason`)."""
    reason = ("eos" if tokens[-1] in base.eos_ids else "stop") if ended else "length"
    return guidance.reason(slot, tokens, reason) if guidance else reason
