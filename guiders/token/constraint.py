"""A constraint on the text of a response: tokens that break it are masked."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch

from guiders.errors import GuiderError
from guiders.models.lm import LM
from guiders.token.protocol import GuideState, TokenGuide, View

if TYPE_CHECKING:
    from guiders.guider import Guider


class Constraint(Protocol):
    """Which responses are allowed, token by token. A state is whatever the constraint makes it, and never changed."""

    @abstractmethod
    def start(self, base: LM) -> Any:
        """The state of an empty response, in the tokens of this base.

        Raises:
            GuiderError: the constraint does not parse, or can't be read in these tokens.
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

    def start(self, base: LM) -> Any:
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
        state = self.constraint.start(base)
        allowed = self.constraint.allowed(state).clone()
        allowed[[i for i in base.eos_ids if i < len(allowed)]] = False
        if not bool(allowed.any()) and not self.constraint.complete(state):
            raise GuiderError(f"{_named(self.constraint)} allows no first token of {base.name}; nothing can be written")

    def state(self, guider: "Guider", slots: int) -> GuideState:
        return ConstrainedState(self, guider)


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

    def __init__(self, guide: Constrained, guider: "Guider"):
        self.settings, self.base, self.width = guide, guider.base, guider.vocabulary
        self.ends = [i for i in guider.base.eos_ids if i < self.width]
        self.now: dict[tuple[int, ...], _Node] = {}
        self.before: dict[tuple[int, ...], _Node] = {}
        self.stuck: torch.Tensor | None = None
        if guide.on:
            self.first = self._node(guide.constraint.start(guider.base))

    def guide(self, view: View) -> torch.Tensor:
        self.stuck = None
        if not self.settings.on:
            return view.guided
        texts, lengths = view.tokens()
        flat, running = texts.flatten(0, -2).tolist(), view.running.flatten().tolist()
        nodes = [
            self._at(tuple(row[:length])) if runs else None
            for row, length, runs in zip(flat, lengths.flatten().tolist(), running, strict=True)
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

    def reason(self, tokens: list[int], reason: str) -> str:
        if not self.settings.on or reason != "eos":
            return reason
        return "constraint" if self._at(tuple(tokens[:-1])).stuck else reason

    def _at(self, tokens: tuple[int, ...]) -> _Node:
        """The node of a response, by way of the longest beginning of it that is known."""
        known = len(tokens)
        while known and tokens[:known] not in self.now and tokens[:known] not in self.before:
            known -= 1
        node = (self.now.get(tokens[:known]) or self.before.get(tokens[:known])) if known else self.first
        assert node is not None  # as it was found
        self.now[tokens[:known]] = node
        for length in range(known + 1, len(tokens) + 1):
            node = self._node(self.settings.constraint.advance(node.state, tokens[length - 1]))
            self.now[tokens[:length]] = node
        return node

    def _node(self, state: Any) -> _Node:
        allowed = self.settings.constraint.allowed(state)[: self.width]
        mask = torch.zeros(self.width, dtype=torch.bool)
        mask[: len(allowed)] = allowed
        complete = self.settings.constraint.complete(state)
        mask[self.ends] = complete
        stuck = not complete and not bool(mask.any())
        if stuck:
            mask[self.ends] = True
        return _Node(state, mask, stuck)
