"""What a token guide is: it changes the next-token distribution.

There are two ways to write one. An *additive* guide turns the logits of its models into what is added to the base's
(`TokenGuide.shift`), with a look at the base's own where it says ``with_base = True``: nothing else is asked, and its
steps can be captured as CUDA graphs. A guide *with a memory* says
so (``memory = True``) and gives a `GuideState`, which sees the base's logits, the tokens so far and uniform numbers of
its own, may mask, may look at alternatives (`View.peek`), and is told of every prompt and every selection.

Additive guides add up first; guides with a memory follow, in their order. Temperature and cuts come last.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from guiders.models.heads import check_language_model
from guiders.models.lm import LM

if TYPE_CHECKING:
    from guiders.guider import Guider


class TokenGuide(Protocol):
    """A token guide; inherit from it, and what you leave out is as here.

    Attributes:
        memory: False: additive, `shift` alone is called; True: `state` is.
        with_base: the shift depends on the base's logits, which come first then.
        draft: the place among `models` of the one that drafts the tokens; None: none does. The law stays the guided one
            (`guiders.sampling.drafted`).
        chance: it draws uniform numbers of its own (`View.numbers`). At a chunk's first column the successors of a
            survivor share them, so that chunk beam search without a chunk limit is not best-of-(W·K) then.
        revisable: its memory follows from a response's tokens alone, so that searches may take some back.
        normalised: what it gives is a distribution over the next token, so that texts can be scored under it.
    """

    memory: bool = False
    with_base: bool = False
    draft: int | None = None
    normalised: bool = True
    chance: bool = False
    revisable: bool = False

    @property
    def models(self) -> tuple[LM, ...]:
        """The models that read every token of the response, each after its own template of the prompt. A model that
        is the base, or another guide's, is run once for all."""
        return ()

    @abstractmethod
    def off(self) -> "TokenGuide":
        """The same guide switched off: the guider then is its base, token for token."""

    def check_base(self, base: LM) -> None:
        """Can it guide this base? Asked when the guider is made, before any weights are read.

        Raises:
            GuiderError: it can't, as its settings name what the base's tokenizer lacks.
        """
        return None

    def check(self) -> None:
        """Are its models of the right kind? Asked once the weights may be read.

        Raises:
            GuiderError: one is not; by default, one that is no language model.
        """
        for lm in self.models:
            check_language_model(lm)

    def shift(self, *logits: torch.Tensor) -> torch.Tensor:
        """Additive guides: what is added to the base's logits, up to a constant, from those of `models` (with
        `with_base`: from the base's, then those): ``[..., V]`` each, not to be overwritten. Minus infinity masks."""
        # a statement of its own: else type checkers take the method for an abstract one
        missing = f"{type(self).__name__} has memory=False, and no shift"
        raise NotImplementedError(missing)

    def state(self, guider: "Guider", slots: int) -> "GuideState":
        """Guides with a memory: a new state for so many slots of ``guider.search.survivors`` hypotheses."""
        missing = f"{type(self).__name__} has memory=True, and no state"
        raise NotImplementedError(missing)


@dataclass
class View:
    """What a guide with a memory sees before a token is drawn, for P slots, S survivors, K successors.

    At a chunk's first column the successors of a survivor are not told apart yet: K is 1 there.

    Attributes:
        base: ``[P, S, K, V]`` the base's logits, in float32 or wider; not to be overwritten.
        guided: ``[P, S, K, V]`` logits so far: the base's with the guides before this one.
        own: the logits ``[P, S, K, V]`` of the guide's own models; not to be overwritten.
        step: ``[P, S, K]`` tokens that the row's response has.
        running: ``[P, S, K]`` the row goes on; what is said of the others is not read.
        tokens: a function that gives the response so far: ``(tokens [P, S, K, n], lengths [P, S, K])``, zeros from a
            row's length on. It waits for nothing.
        numbers: a function of m that gives ``[P, S, K, m]`` uniform numbers in (0, 1) of this guide's own, float64: a
            row has the same ones whatever its batch-mates.
        peek: a function of alternatives ``[P, S, K, m]`` and a place that gives the logits ``[P, S, K, m, V]`` after
            each alternative, as if it were the row's next token; it is read and not kept. Place 0 is the base, 1 the
            first of the guide's own models. It costs m positions of that model for each row.
        temperature: that the guided logits are divided by before the token is drawn; 0: the likeliest is taken.
    """

    base: torch.Tensor
    guided: torch.Tensor
    own: tuple[torch.Tensor, ...]
    step: torch.Tensor
    running: torch.Tensor
    tokens: Callable[[], tuple[torch.Tensor, torch.Tensor]]
    numbers: Callable[[int], torch.Tensor]
    peek: Callable[..., torch.Tensor]
    temperature: float = 1.0


class GuideState(Protocol):
    """A guide's memory for the slots of one decoder; inherit from it, and what you leave out does nothing.

    Its life: prompts are admitted to slots; `guide` is asked before every token and `weigh` after it; at the end of a
    chunk `commit` says which rows live on. All tensors are on the base's device.

    Attributes:
        evaluated: positions that models which only this state runs have computed so far; it may be left out.
    """

    def admit(self, slots: list[int], prompts: list) -> None:
        """New prompts take these slots, in any form that `LM.encode_prompt` takes."""
        return None

    def documents(self, slots: list[int], documents: list[Mapping[str, Any] | None]) -> None:
        """What the new prompts of these slots came with (`guiders.generate`), None for nothing. Said after `admit`."""
        return None

    @abstractmethod
    def guide(self, view: View) -> torch.Tensor:
        """The guided logits ``[P, S, K, V]``, a tensor of its own or `View.guided`; minus infinity masks."""

    def weigh(self, view: View, tokens: torch.Tensor) -> torch.Tensor | None:
        """The log-weights ``[P, S, K]`` of the tokens drawn, None for none. They add up along a response.

        `view` is what `guide` was given; tokens: ``[P, S, K]``, with all successors at a chunk's first column too.
        """
        return None

    def commit(self, parents: torch.Tensor, rows: torch.Tensor, counts: torch.Tensor, identity: bool) -> None:
        """The survivors were chosen.

        Args:
            parents: ``[P, S]`` the survivor that each came from. rows: ``[P, S]`` its row among the S·K of its slot.
            counts: ``[P, S]`` tokens that it keeps of its row's chunk. identity: every survivor goes on as itself.
        """
        return None

    def keep(self, slots: torch.Tensor) -> None:
        """Only these slots go on, in this order: ``[P']``."""
        return None

    def shrink(self, longest: int) -> None:
        """No running response has more than `longest` tokens."""
        return None

    def passes(self, counts: torch.Tensor, survivors: torch.Tensor) -> torch.Tensor:
        """Token positions ``[P]`` that a chunk needed beside those that the decoder counts: of `View.peek`, and one for
        each step of each model. Less than 0 where the guide did not need them all. Asked before `commit`. Arguments as
        of `guiders.value.protocol.Scorer.passes`."""
        return torch.zeros_like(survivors)

    def reason(self, slot: int, tokens: list[int], reason: str) -> str:
        """Why a slot's finished response ended (`Generation.finish_reason`): `reason`, or the guide's own word."""
        return reason

    def notes(self, slot: int, survivor: int) -> dict[str, float]:
        """What is to be recorded of a finished response (`Generation.notes`), after its last `commit`: name -> number,
        as the share of its tokens at which the guide stepped in."""
        return {}
