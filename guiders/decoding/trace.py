"""What guidance and search did, recorded on request.

A trace is ``{"tokens": [token strings], "changed": [positions where guidance changed the most likely token],
"base_ranks": [of each token, how many ids the base found more likely], "chunks": [{"step": tokens so far,
"hypotheses": [{"text", "value", "kept", "ended"}]}]}``; plain data, ready for JSON. A value that the search did not ask
for is None. Of a search with more than `MOST` rows, those that go on are listed alone.
"""

import math
from collections.abc import Sequence

import torch

from guiders.decoding.beam import Beam
from guiders.decoding.request import Request
from guiders.guider import Guider
from guiders.search import Boundary, Selection
from guiders.value import Chunk

MOST = 64  # rows of a prompt: a token beam has one for each of its many alternatives


class Trace:
    """Collects the traces of all slots; every boundary waits for the device."""

    def __init__(self, guider: Guider):
        self.lm = guider.base

    def boundary(
        self,
        requests: Sequence[Request | None],
        beam: Beam,
        chunk: Chunk,
        boundary: Boundary,
        selection: Selection,
        changed: torch.Tensor,
        ranks: torch.Tensor,
    ) -> None:
        """Record one boundary, before the beam is updated."""
        kept, drawn = selection.rows.tolist(), chunk.tokens.flatten(1, 2).tolist()
        held = [
            [tokens[:length] for tokens, length in zip(*one, strict=True)]
            for one in zip(beam.tokens.tolist(), beam.lengths.tolist(), strict=True)
        ]
        values, ended = boundary.values.tolist(), chunk.ended.flatten(1).tolist()
        counts, valid = chunk.counts.flatten(1).tolist(), boundary.valid.tolist()
        lengths = (boundary.lengths.gather(1, selection.rows) if selection.kept is None else selection.kept).tolist()
        marked, ranked = changed.flatten(1, 2).tolist(), ranks.flatten(1, 2).tolist()
        successors = chunk.tokens.shape[2]
        for slot, request in enumerate(requests):
            if request is None:
                continue
            nothing: list[list[int]] = [[]] * beam.lengths.shape[1]
            before = request.trace[-1]["changed"] if request.trace else nothing
            ranks_before = request.trace[-1]["ranks"] if request.trace else nothing
            steps = (request.trace[-1]["step"] if request.trace else 0) + chunk.tokens.shape[-1]
            step: dict = {"step": steps, "hypotheses": [], "changed": [], "ranks": []}
            for row in range(len(drawn[slot])) if len(drawn[slot]) <= MOST else kept[slot]:
                tokens = held[slot][row // successors] + drawn[slot][row][: counts[slot][row]]
                if valid[slot][row]:
                    step["hypotheses"].append(
                        {
                            "text": self.lm.decode(tokens),
                            "value": None if math.isnan(values[slot][row]) else values[slot][row],
                            "kept": row in kept[slot],
                            "ended": ended[slot][row],
                        }
                    )
            for row, length in zip(kept[slot], lengths[slot], strict=True):
                new, start = counts[slot][row], len(held[slot][row // successors])
                marks = [start + j for j in range(new) if marked[slot][row][j]]
                marks = [place for place in (*before[row // successors], *marks) if place < length]
                step["changed"].append(marks)
                behind = ranks_before[row // successors][:start]
                step["ranks"].append([*behind, *ranked[slot][row][:new]][:length])
            request.trace.append(step)

    def result(self, request: Request, tokens: Sequence[int], best: int) -> dict:
        """The trace of the response that was chosen."""
        return {
            "tokens": [self.lm.decode([token]) for token in tokens],
            "changed": request.trace[-1]["changed"][best],
            "base_ranks": request.trace[-1]["ranks"][best],
            "chunks": [{"step": step["step"], "hypotheses": step["hypotheses"]} for step in request.trace],
        }
