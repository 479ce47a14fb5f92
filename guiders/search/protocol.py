"""The contract of a search: how many hypotheses live, where their chunks end, which go on and how much of each is kept.

P prompts are decoded together. Each has S survivors, and each survivor K successors: the R = S·K rows of a prompt, row
``s·K + k`` the k-th successor of survivor s. Rows step until their chunk ends, which is a boundary: they are scored,
the search is asked what goes on, and the next chunk begins.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from guiders.models.lm import LM


class ChunkEnd(Protocol):
    """Where a row's chunk ends, if the response has not ended before. A chunk has at least one token."""

    @property
    def most(self) -> int | None:
        """Tokens that a chunk has at most; None: the whole response."""

    @property
    def ragged(self) -> bool:
        """Can rows end their chunks at different lengths? A row that is done waits for the others."""

    def after(self, base: LM) -> Sequence[int]:
        """Ids of tokens that a chunk ends with."""

    def before(self, logits: torch.Tensor, counts: torch.Tensor) -> torch.Tensor | None:
        """Does a chunk end rather than draw a token from here? None where it never does.

        Args:
            logits: ``[..., V]`` of the base, to be left as they are. counts: ``[...]`` tokens of the chunk so far,
                1 or more.

        Returns:
            ``[...]`` booleans. Called at every step between two boundaries: nothing in it may wait for the device.
        """


@dataclass
class Boundary:
    """What a search sees at a boundary, on the base's device: P prompts, S survivors, K successors, R = S·K rows.

    Slots without a prompt are among the P; what is said of them is not used.

    Attributes:
        values: ``[P, R]`` of the rows as they are now; NaN where the search's `scores` asks for none yet.
        before: ``[P, S]`` of the survivors before the chunk; NaN where only a part of a scored row was kept.
        log_weights: ``[P, R]`` as given with the last `Selection`, 0 at the beginning, and what the chunk added: what
            token guides say (`GuideState.weigh`), and the tokens' log-probabilities where the search `expands`.
        log_ratio: ``[P, R]`` nats, log(the response's probability as drawn / the base's), as in `Generation.log_ratio`.
        valid: ``[P, R]`` the row holds a hypothesis; a survivor that had ended or reached the limit takes one row,
            another one as many as it has `Search.tries`.
        ended: ``[P, R]`` with an end token or a stop string. over: ``[P, R]`` ended, or at the token limit.
        counts: ``[P, R]`` tokens that the chunk added. lengths: ``[P, R]`` tokens in all.
        limits: ``[P]`` tokens that a response may have. chunks: ``[P]`` boundaries so far, this one included.
        successors: K.
        equal: a function that says which rows hold the same tokens: ``[P, R, R]``.
        numbers: a function of m that gives ``[P, m]`` uniform numbers in (0, 1) of the search's own, which depend on
            the seed, the prompt and the boundary alone; asked twice, it gives the same ones.
        responses: a function that gives every row's tokens, as lists ``[P][R]``; waits for the device.
    """

    values: torch.Tensor
    before: torch.Tensor
    log_weights: torch.Tensor
    log_ratio: torch.Tensor
    valid: torch.Tensor
    ended: torch.Tensor
    over: torch.Tensor
    counts: torch.Tensor
    lengths: torch.Tensor
    limits: torch.Tensor
    chunks: torch.Tensor
    successors: int
    equal: Callable[[], torch.Tensor]
    numbers: Callable[[int], torch.Tensor]
    responses: Callable[[], list[list[list[int]]]]


@dataclass
class Selection:
    """What goes on.

    Attributes:
        rows: ``[P, S']`` the row that each new survivor was, out of R. S' = S, or fewer where the search `shrinks`:
            what is not named is given up, with its memory and compute, as are its successors to be.
        kept: ``[P, S']`` tokens of the response that the survivor keeps, counted from its beginning, where the search
            `revises`: fewer than the row has undo a part of the chunk or of what came before, an end included.
            None: all.
        log_weights: ``[P, S']`` that the survivors go on with; None: those of their rows.
        idle: ``[P, S']`` survivors that are not continued, as if they had ended: empty places of a beam. None: none.
        finished: ``[P]`` the search is done with the prompt. None: where all survivors have ended or are at the limit,
            which ends a prompt in any case.
    """

    rows: torch.Tensor
    kept: torch.Tensor | None = None
    log_weights: torch.Tensor | None = None
    idle: torch.Tensor | None = None
    finished: torch.Tensor | None = None


class Search(Protocol):
    """Which hypotheses live. Subclass it to get what most searches share; they are immutable, and hold no tensor."""

    @property
    def survivors(self) -> int:
        """S, hypotheses of a prompt that go on from a boundary (that it begins with, where the search `shrinks`)."""
        return 1

    @property
    def successors(self) -> int:
        """K, rows that each survivor is continued in."""
        return 1

    @property
    def rows(self) -> int:
        """S·K, the rows of a prompt that are decoded side by side: the compute budget that methods are compared at.
        Fewer where some of them are never read on."""
        return self.survivors * self.successors

    @property
    def scores(self) -> Literal["never", "end", "boundary"]:
        """When rows are scored: never (the guider needs no value), once each is over, or at every boundary."""
        return "boundary"

    @property
    def ends(self) -> ChunkEnd:
        """Where chunks end."""
        ...

    @property
    def revises(self) -> bool:
        """May `select` keep fewer tokens than a row has? Models must then be able to go back in a text, which
        recurrent ones are not, and an implicit value of the guiding pair is computed anew."""
        return False

    @property
    def shrinks(self) -> bool:
        """May `select` name fewer than S rows? Prompts are then decoded in waves: none is admitted while others run."""
        return False

    @property
    def expands(self) -> bool:
        """Are a survivor's K successors its K most likely next tokens, the likeliest first, in place of K draws? Chunks
        are of one token then. Temperature and cuts change nothing, and log-weights gather the tokens'
        log-probabilities under guidance; a successor beyond the vocabulary has minus infinity."""
        return False

    @property
    def also(self) -> tuple[int, ...]:
        """Where the search `expands`: different ids that the last of the K successors are, likely or not; one that is
        among the likeliest already has minus infinity."""
        return ()

    def of(self, base: LM) -> "Search":
        """The same search, with what it takes from the base's tokenizer; the guider asks for it.

        Raises:
            GuiderError: it can't be had.
        """
        return self

    @property
    def needs_draws(self) -> bool:
        """Does it mean nothing at temperature 0, where all draws of a prompt are one? It is then refused there."""
        return False

    @property
    def equal_rows(self) -> bool:
        """Does ``grid.rows`` hold its rows equal to other searches'? They measure no compute of a chain, whose steps
        do."""
        return True

    @property
    def copies_ended(self) -> bool:
        """Does an ended survivor fill all its K rows, as one that goes on does, instead of one?"""
        return False

    @property
    def scores_cut_with_end(self) -> bool:
        """Is a response that the limit cut scored with an end-of-text token that it does not have?"""
        return False

    def tries(self, logits: torch.Tensor) -> torch.Tensor | None:
        """``[...]`` how many rows a survivor is continued in, from 1 to K, by the base's logits ``[..., V]`` before the
        chunk. The other rows draw nothing, cost nothing and are not valid. A row that goes on alone is asked again
        before every token, and its chunk ends where there would be more than one. None: always K.
        """
        return None

    def select(self, boundary: Boundary) -> Selection | None:
        """What goes on from a boundary. None, where K = 1: every row, as its own only successor."""
        return None

    def choose(self, boundary: Boundary) -> torch.Tensor:
        """``[P]`` which survivor is the answer, asked once a prompt is done: of a boundary whose rows are the
        survivors after the last selection."""
        return boundary.values.argmax(-1)

    def log_weight(self, boundary: Boundary, chosen: torch.Tensor) -> torch.Tensor | None:
        """``[P]`` log-weights of the answers; asked with the `boundary` of `choose`, and what it chose.

        Given where answers are draws of another law than the one that is meant: Σ w f / Σ w over independent answers
        to a prompt then estimates the mean of f under that law. None: answers are not weighted.
        """
        return None

    def divergence(self, tokens: int, limit: int) -> float | None:
        """A response's part of a proven bound of KL(this search ‖ no search), in nats; None where none is proven.

        The bound is the mean of this over the responses that the search gives.

        Args:
            tokens: that the response has. limit: tokens that it could have had.
        """
        return None

    def off(self) -> "Search":
        """No search: one response is drawn."""
        from guiders.search.sample import Sample

        return Sample()
