"""A constraint on the text of a response: tokens that break it are masked."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch

from guiders.errors import GuiderError
from guiders.models.lm import LM
from guiders.token.protocol import GuideState, TokenGuide, View

if TYPE_CHECKING:
    from guiders.guider import Guider


class Constraint(Protocol):
    """Which responses are allowed, token by token. A state is whatever the constraint makes it, and never changed.

    Attributes:
        own: each prompt has its own: `start` reads the document that the prompt came with. False: all have one.
    """

    own: bool = False

    def check(self, base: LM) -> None:
        """Can responses be constrained in the tokens of this base? Asked when the guider is made.

        Raises:
            GuiderError: they can't.
        """
        return None

    @abstractmethod
    def start(self, base: LM, document: Mapping[str, Any] | None = None) -> Any:
        """The state of an empty response, in the tokens of this base. None, where `own`: the document's constraint
        can't be compiled. Nothing is allowed then, and the response ends with nothing written.

        Args:
            document: what the prompt came with (`guiders.generate`); None: nothing.

        Raises:
            GuiderError: the constraint does not parse, or can't be read in these tokens; `own`, and the document is not
                there or lacks it.
        """

    @abstractmethod
    def advance(self, state: Any, token: int) -> Any:
        """The state after one more token, which was allowed."""

    @abstractmethod
    def allowed(self, state: Any) -> torch.Tensor:
        """``[n]`` booleans: may the id come next? Ids from n on may not; what is said of end tokens is not read."""

    @abstractmethod
    def complete(self, state: Any) -> bool:
        """May the response end here?"""


@dataclass(frozen=True)
class OfGuider(Constraint):
    """In the place of a guide's constraint: the guider's, which the guide then obeys instead of masks of its own."""

    def start(self, base: LM, document: Mapping[str, Any] | None = None) -> Any:
        raise GuiderError("no constraint is given; set guider.constraint, as guider.constraint={regex: '[a-z ]*'}")

    def advance(self, state: Any, token: int) -> Any:
        raise NotImplementedError

    def allowed(self, state: Any) -> torch.Tensor:
        raise NotImplementedError

    def complete(self, state: Any) -> bool:
        raise NotImplementedError


@dataclass(frozen=True)
class Constrained(TokenGuide):
    """π_g restricted, before every token, to those that the constraint allows: the *locally* constrained law, which is
    not the base's law given that the response is valid (Lipkin et al. 2025, "Fast Controlled Generation from Language
    Models with Adaptive Weighted Rejection Sampling", arXiv 2504.05410). `TwistedSMC` draws from that one.

    End tokens are allowed where the response is complete. Where nothing is allowed any more, the row ends, with
    ``finish_reason`` "constraint" and, for a search that weighs, weight 0. A response that the token limit cuts is not
    complete either. Where the guides before this one rule out all that is allowed, the base chooses among it.
    Where each prompt has a constraint of its own, `Generation.notes` says whether it was ``compiled``, 1 or 0.

    Args:
        constraint: what is allowed. on: False: the base.

    Raises:
        GuiderError: once the base is known: it has no end token; the constraint allows no first token, or does not
            parse.
    """

    constraint: Constraint
    on: bool = field(default=True, kw_only=True)
    memory = True
    revisable = True

    def off(self) -> "Constrained":
        """No constraint."""
        return replace(self, on=False)

    def check_base(self, base: LM) -> None:
        if not self.on:
            return
        if not base.eos_ids:
            raise GuiderError(f"{base.name} has no end token, and constrained responses end with one; give it one")
        self.constraint.check(base)
        if self.constraint.own:
            return
        state = self.constraint.start(base)
        allowed = self.constraint.allowed(state).clone()
        allowed[[i for i in base.eos_ids if i < len(allowed)]] = False
        if not bool(allowed.any()) and not self.constraint.complete(state):
            raise GuiderError(f"{_named(self.constraint)} allows no first token of {base.name}; nothing can be written")

    def state(self, guider: "Guider", slots: int) -> GuideState:
        return ConstrainedState(self, guider, slots)


def under(guides: Sequence[Any], constraint: Constraint) -> tuple[Any, ...]:
    """The guides under a guider's constraint: those that obey it in their own way, else a mask after all of them."""
    own = [isinstance(guide, Constrained) and isinstance(guide.constraint, OfGuider) for guide in guides]
    if not any(own):
        return (*guides, Constrained(constraint))
    return tuple(
        replace(guide, constraint=constraint) if mine else guide for guide, mine in zip(guides, own, strict=True)
    )


def _named(constraint: Constraint) -> str:
    return f"the constraint {constraint!s:.100}"


@dataclass
class _Node:
    """After some tokens: the constraint's state, the ids that may come next ``[V]``, and whether only an end is left
    although the response is not complete."""

    state: Any
    mask: torch.Tensor
    stuck: bool


class ConstrainedState(GuideState):
    """What is known of the responses of this chunk and the one before, by their tokens; the rest is found anew.

    Attributes:
        masks, free: ``[P, S, K, V]`` of the last token: what may come next, and the logits that were masked.
    """

    masks: torch.Tensor
    free: torch.Tensor

    def __init__(self, guide: Constrained, guider: "Guider", slots: int):
        self.settings, self.base, self.width = guide, guider.base, guider.vocabulary
        self.ends = [i for i in guider.base.eos_ids if i < self.width]
        # nodes by the number of their beginning, then their tokens
        self.now: dict[tuple[int, ...], _Node] = {}
        self.before: dict[tuple[int, ...], _Node] = {}
        self.stuck: torch.Tensor | None = None
        self.starts: dict[int, _Node] = {}
        self.numbers = [0] * slots  # which of `starts` a slot's responses begin at
        self.begun = 0
        if guide.on and not guide.constraint.own:
            self.starts[0] = self._node(guide.constraint.start(guider.base))

    def documents(self, slots: list[int], documents: list[Mapping[str, Any] | None]) -> None:
        if not self.settings.on or not self.settings.constraint.own:
            return
        for slot, document in zip(slots, documents, strict=True):
            self.begun += 1
            self.numbers[slot] = self.begun
            self.starts[self.begun] = self._node(self.settings.constraint.start(self.base, document))
        self.starts = {number: node for number, node in self.starts.items() if number in self.numbers}

    def keep(self, slots: torch.Tensor) -> None:
        self.numbers = [self.numbers[slot] for slot in slots.tolist()]

    def guide(self, view: View) -> torch.Tensor:
        self.stuck = None
        if not self.settings.on:
            return view.guided
        texts, lengths = view.tokens()
        flat, running = texts.flatten(0, -2).tolist(), view.running.flatten().tolist()
        rows = len(flat) // len(self.numbers)
        nodes = [
            self._at(place // rows, row[:length]) if runs else None
            for place, (row, length, runs) in enumerate(zip(flat, lengths.flatten().tolist(), running, strict=True))
        ]
        free = torch.ones(self.width, dtype=torch.bool)
        masks = torch.stack([node.mask if node else free for node in nodes])
        masks = self.masks = masks[:, : view.guided.shape[-1]].to(view.guided.device).view(view.guided.shape)
        if any(node and node.stuck for node in nodes):
            stuck = torch.tensor([bool(node and node.stuck) for node in nodes], device=masks.device)
            self.stuck = stuck.view(view.running.shape)
        nothing = view.guided.masked_fill(~masks, -torch.inf).isneginf().all(-1, keepdim=True)
        self.free = torch.where(nothing, view.base, view.guided)
        return self.free.masked_fill(~masks, -torch.inf)

    def weigh(self, view: View, tokens: torch.Tensor) -> torch.Tensor | None:
        if self.stuck is None:
            return None
        weights = torch.zeros(tokens.shape, dtype=torch.float64, device=tokens.device)
        return weights.masked_fill(self.stuck, -torch.inf)

    def commit(self, parents: torch.Tensor, rows: torch.Tensor, counts: torch.Tensor, identity: bool) -> None:
        self.before, self.now = self.now, {}

    def reason(self, slot: int, tokens: list[int], reason: str) -> str:
        if not self.settings.on or reason != "eos":
            return reason
        return "constraint" if self._at(slot, tokens[:-1]).stuck else reason

    def notes(self, slot: int, survivor: int) -> dict[str, float]:
        if not self.settings.on or not self.settings.constraint.own:
            return {}
        return {"compiled": float(self.starts[self.numbers[slot]].state is not None)}

    def _at(self, slot: int, tokens: list[int]) -> _Node:
        """The node of a slot's response, by way of the longest beginning of it that is known."""
        path = (self.numbers[slot], *tokens)
        if path[0] not in self.starts:
            raise GuiderError("constraint: each prompt has its own, and this one came with no document; give documents")
        known = len(path)
        while known > 1 and path[:known] not in self.now and path[:known] not in self.before:
            known -= 1
        node = (self.now.get(path[:known]) or self.before.get(path[:known])) if known > 1 else self.starts[path[0]]
        assert node is not None  # as it was found
        self.now[path[:known]] = node
        for length in range(known + 1, len(path) + 1):
            node = self._node(self.settings.constraint.advance(node.state, path[length - 1]))
            self.now[path[:length]] = node
        return node

    def _node(self, state: Any) -> _Node:
        mask = torch.zeros(self.width, dtype=torch.bool)
        complete = False
        if state is not None or not self.settings.constraint.own:
            allowed = self.settings.constraint.allowed(state)[: self.width]
            mask[: len(allowed)] = allowed
            complete = self.settings.constraint.complete(state)
        mask[self.ends] = complete
        stuck = not complete and not bool(mask.any())
        if stuck:
            mask[self.ends] = True
        return _Node(state, mask, stuck)
