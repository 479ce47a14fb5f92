"""What a search sees at a boundary, and what it may answer."""

from collections.abc import Callable, Sequence

import torch

from guiders.decoding.beam import Beam
from guiders.errors import GuiderError
from guiders.kv.lane import Lane
from guiders.sampling import Sampling
from guiders.search import Boundary, Search, Selection
from guiders.value import Chunk

Numbers = Callable[[int], torch.Tensor]


class EqualRows:
    """`Beam.equal_rows`, computed once and only where the search asks.

    Attributes:
        found: ``[P, R, R]``, or None while nobody has asked.
    """

    def __init__(self, beam: Beam, tokens: torch.Tensor, counts: torch.Tensor):
        self.beam, self.tokens, self.counts = beam, tokens, counts
        self.found: torch.Tensor | None = None

    def __call__(self) -> torch.Tensor:
        if self.found is None:
            self.found = self.beam.equal_rows(self.tokens, self.counts)
        return self.found


def check_search(search: Search, sampling: Sampling, lanes: Sequence[Lane]) -> None:
    """Can the search be run?

    Raises:
        GuiderError: it needs draws that differ, and the temperature is 0; it expands chunks of several tokens; rows
            end their chunks at different lengths,
            and a model's states can't wait there.
    """
    if search.needs_draws and not sampling.temperature:
        raise GuiderError(
            f"{type(search).__name__} needs draws that differ, and at temperature=0 all are one; set it above 0"
        )
    if search.expands and search.ends.most != 1:
        raise GuiderError(
            f"{type(search).__name__} takes the likeliest tokens, and its chunks have several; let one do"
        )
    if search.ends.ragged and (recurrent := [lane.lm.name for lane in lanes if lane.recurrent]):
        raise GuiderError(
            f"{recurrent[0]} has recurrent layers, whose states can't wait where rows end their chunks at different "
            f"lengths ({type(search.ends).__name__}); use a search whose chunks have a fixed length"
        )


def rows_wanted(search: Search, scorer: object, counts: torch.Tensor, over: torch.Tensor) -> torch.Tensor:
    """Which rows need a value now: ``[P, S, K]``, those that added a token; of values of rows together, all rows.

    Where a search scores responses that are over, only those.
    """
    added = (counts > 0) | getattr(scorer, "together", False)
    return added & over if search.scores == "end" else added


def rows_seen(
    search: Search,
    beam: Beam,
    chunk: Chunk,
    values: torch.Tensor,
    over_base: torch.Tensor | None,
    limits: torch.Tensor,
    chunks: torch.Tensor,
    equal: EqualRows,
    numbers: Numbers,
) -> Boundary:
    """What the search sees of a chunk's rows.

    Args:
        values: ``[P, S, K]``. over_base: of every column (see `Steps`). limits: ``[P]`` tokens that a
            response may have. chunks: ``[P]`` boundaries so far. numbers: the search's own uniform numbers.
    """
    successors = chunk.counts.shape[2]
    place = torch.arange(successors, device=limits.device)
    lengths = (beam.lengths[..., None] + chunk.counts).flatten(1)
    ended = chunk.ended.flatten(1)
    over = ended | (lengths >= limits[:, None])
    running = ~beam.ended & (beam.lengths < limits[:, None])
    values = values.flatten(1)
    return Boundary(
        values=values.masked_fill(~over, torch.nan) if search.scores == "end" else values,
        before=beam.values,
        log_weights=beam.log_weights.repeat_interleave(successors, 1) + chunk.weights(),
        log_ratio=beam.log_ratios(chunk, over_base),
        valid=((running[..., None] & (chunk.counts > 0)) | (place == 0) | search.copies_ended).flatten(1),
        ended=ended,
        over=over,
        counts=chunk.counts.flatten(1),
        lengths=lengths,
        limits=limits,
        chunks=chunks,
        successors=successors,
        equal=equal,
        numbers=numbers,
        responses=chunk.responses,
    )


def survivors_seen(beam: Beam, limits: torch.Tensor, chunks: torch.Tensor, numbers: Numbers) -> Boundary:
    """A boundary whose rows are the survivors; arguments as of `rows_seen`."""
    nothing = torch.zeros_like(beam.lengths)
    no_tokens = nothing[..., None, None][..., :0]
    return Boundary(
        values=beam.values,
        before=beam.values,
        log_weights=beam.log_weights,
        log_ratio=beam.over_base,
        valid=torch.ones_like(beam.ended),
        ended=beam.ended,
        over=beam.ended | (beam.lengths >= limits[:, None]),
        counts=beam.added,
        lengths=beam.lengths,
        limits=limits,
        chunks=chunks,
        successors=1,
        equal=EqualRows(beam, no_tokens, nothing[..., None]),
        numbers=numbers,
        responses=lambda: beam.responses(no_tokens, nothing[..., None]),
    )


def chosen(search: Search, boundary: Boundary) -> list[tuple[int, float | None]]:
    """Every slot's answer among its survivors, by its place, and its log-weight."""
    answers = search.choose(boundary)
    weights = search.log_weight(boundary, answers)
    return list(zip(answers.tolist(), [None] * len(answers) if weights is None else weights.tolist(), strict=True))


def selected(search: Search, boundary: Boundary, shape: tuple[int, int, int]) -> tuple[Selection, bool]:
    """What the search selects of P slots of S survivors with K successors; does every row go on as its own only
    successor?

    Raises:
        GuiderError: it answers with what it said that it does not.
    """
    (slots, survivors, successors), name = shape, type(search).__name__
    selection = search.select(boundary)
    if selection is None:
        if successors > 1:
            raise GuiderError(f"{name}.select gives None, and {successors} successors to choose from; give rows")
        return Selection(torch.arange(survivors, device=boundary.limits.device).expand(slots, -1)), True
    found = tuple(selection.rows.shape)
    if len(found) != 2 or found[0] != slots or not 1 <= found[1] <= survivors:
        raise GuiderError(f"{name}.select gives rows of {found}; give at most {(slots, survivors)}")
    if found[1] < survivors and not search.shrinks:
        raise GuiderError(f"{name}.select gives rows up, and the search does not say so; set shrinks")
    if selection.kept is not None and not search.revises:
        raise GuiderError(f"{name}.select keeps parts of rows, and the search does not say so; set revises")
    return selection, False
