"""What a value does inside the decoder: score every row at the end of a chunk, from what its cache holds."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch

from guiders.models.lm import LM

if TYPE_CHECKING:
    from guiders.guider import Guider


@dataclass
class Chunk:
    """What the rows of all slots did since the last boundary; P slots, S survivors, K successors, n columns.

    Attributes:
        tokens: ``[P, S, K, n]``; columns from `counts` on are padding.
        counts: ``[P, S, K]`` tokens that the row added.
        ended: ``[P, S, K]`` the hypothesis ended with an end-of-text token or a stop string (not: was cut).
        values: ``[P, S]`` the survivors' values before this chunk.
        log_ratio: ``[P, S, K]`` sum over the chunk of log π⁺ − log π⁻ of the row's tokens, where the scorer wants it.
        responses: a function that gives every row's response tokens, as lists ``[P][S·K]`` (it waits for the device).
        text: a function from such a response's tokens to its text as the user sees it: cut before a stop string, and
            without a last character that is not all there yet.
        wanted: ``[P, S, K]`` the row's value is needed now; None: of every row that added a token. A value that costs
            something for every row need not score the others.
        log_weights: ``[P, S, K]`` sum over the chunk of the token guides' log-weights (`GuideState.weigh`); None where
            no guide has a memory.
        over: ``[P, S, K]`` the hypothesis ended or is at the token limit; None: where it ended.
        stop: strings that end a response.
    """

    tokens: torch.Tensor
    counts: torch.Tensor
    ended: torch.Tensor
    values: torch.Tensor
    log_ratio: torch.Tensor | None
    responses: Callable[[], list[list[list[int]]]]
    text: Callable[[list[int]], str]
    wanted: torch.Tensor | None = None
    log_weights: torch.Tensor | None = None
    over: torch.Tensor | None = None
    stop: tuple[str, ...] = ()

    @property
    def scored(self) -> torch.Tensor:
        """``[P, S, K]`` rows whose value may be new: they added a token, or it is wanted."""
        added = self.counts > 0
        return added if self.wanted is None else added | self.wanted

    def asked(self) -> list[list[bool]]:
        """Is the row's value needed now? ``[P][S·K]``; waits for the device."""
        wanted = self.counts > 0 if self.wanted is None else self.wanted
        return wanted.flatten(1).tolist()

    def weights(self) -> torch.Tensor:
        """The chunk's log-weights by row, 0 where no guide weighs: ``[P, S·K]``."""
        weights = torch.zeros_like(self.counts, dtype=torch.float64) if self.log_weights is None else self.log_weights
        return weights.flatten(1)

    def with_end(self, cut: torch.Tensor, end: int) -> "Chunk":
        """The same chunk, with the token `end` after the rows ``[P, S, K]`` that were cut, as if they had ended."""
        tokens = torch.cat([self.tokens, torch.zeros_like(self.tokens[..., :1])], -1)
        at = self.counts[..., None]
        tokens = tokens.scatter(-1, at, torch.where(cut[..., None], end, tokens.gather(-1, at)))
        return replace(self, tokens=tokens, counts=self.counts + cut, ended=self.ended | cut)


class Scorer(Protocol):
    """A value's state for the slots of one decoder. All tensors are on the base's device.

    Inherit from it, and what you leave out does nothing, and reads nothing.

    Attributes:
        wants_ratio: None, or the places among the decoder's lanes of a tuned and an untuned model whose log-probability
            ratio of the drawn tokens the scorer wants in `Chunk.log_ratio`.
        evaluated: token positions that its models have computed so far, with padding and rows that are not read,
            without the prompts. A scorer may leave it out: what `passes` says is counted then.
        together: a row's value depends on the prompt's other rows, so that all are scored again at every boundary,
            those too that have ended before. A scorer may leave it out, which says no.
    """

    if TYPE_CHECKING:  # only read here; a scorer that inherits from this may set it

        @property
        def wants_ratio(self) -> tuple[int, int] | None: ...

    def admit(self, slots: list[int], prompts: list) -> None:
        """New prompts (texts, messages or ids; a long one as a `guiders.models.prompt.LongPrompt`) take these slots;
        `LM.encode_prompt` takes them all."""
        return None

    @abstractmethod
    def score(self, chunk: Chunk) -> torch.Tensor:
        """The value of every row's hypothesis: ``[P, S, K]``. Rows that are not `Chunk.wanted` may hold anything, but
        where their value is gathered chunk by chunk."""

    def commit(
        self,
        parents: torch.Tensor,
        rows: torch.Tensor,
        counts: torch.Tensor,
        pending: torch.Tensor,
        identity: bool,
        starts: torch.Tensor | None = None,
    ) -> None:
        """The survivors were chosen: ``[P, S']`` each, with S' below S where the search gives rows up. Of their row's
        chunk they keep `counts` tokens; the last token of their response is `pending`. identity: every row goes on as
        its own only successor.

        starts: tokens of the parent's response that they keep; None where all. It is given under no search but those
        that say `Search.revises`: `counts` can then be less than the row added, `pending` of before the chunk, and any
        token where a survivor keeps none at all.
        """
        return None

    def keep(self, slots: torch.Tensor) -> None:
        """Only these slots go on."""
        return None

    def shrink(self, longest: int) -> None:
        """No running response has more than `longest` tokens: nothing beyond needs to be attended to."""
        return None

    def passes(self, counts: torch.Tensor, survivors: torch.Tensor) -> torch.Tensor:
        """Token positions that a chunk's rows needed, ``[P]``; what was computed beside them is not counted.

        counts: ``[P, S, K]`` tokens the rows added. survivors: ``[P]`` hypotheses that went on into the chunk.
        """
        return torch.zeros_like(survivors)


@dataclass(frozen=True)
class Reads:
    """A model that reads a chunk's tokens at its boundary, for an account of what a value costs.

    Attributes:
        head: logits over the vocabulary are needed at every position. last: a row's last token is read with its chunk;
            else once per survivor, with the next one.
    """

    lm: LM
    head: bool
    last: bool


class Value(Protocol):
    """A value: makes its scorer for a decoder. Inherit from it, and what you leave out is as here."""

    @property
    def models(self) -> tuple[LM, ...]:
        """The language and value models that read the response: each one's context bounds it."""
        return ()

    def check(self) -> None:
        """Are its models of the right kind? Asked once the weights may be read.

        Raises:
            GuiderError: one is not.
        """

    @abstractmethod
    def scorer(self, guider: "Guider", slots: int, columns: int) -> Scorer:
        """State for so many slots, and chunks of at most `columns` tokens."""

    @abstractmethod
    def rescore(
        self,
        guider: "Guider",
        prompt: object,
        responses: Sequence[Sequence[int]],
        ended: Sequence[bool],
        stop: Sequence[str] = (),
    ) -> list[float]:
        """The same values from whole texts, without any cache: the slow formula that the scorer is held to.

        Args:
            responses: to one prompt, in the base's tokens, an end token included. ended: did each end, or was it cut?
            stop: strings that cut a response's text.
        """

    @property
    def together(self) -> bool:
        """Does a response's value depend on the prompt's other rows? `rescore` is then given all of them."""
        return False

    @property
    def finished(self) -> "Value":
        """This value of responses that are over; another one where it reads how a response may go on."""
        return self

    def reads(self, guider: "Guider") -> tuple[Reads, ...]:
        """The models that read every chunk beside the decoder's own; none where the value falls out of the guidance,
        or reads texts in another way."""
        return ()
