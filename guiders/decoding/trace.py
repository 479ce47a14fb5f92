"""What guidance and search did, recorded on request.

A trace is ``{"tokens": [token strings], "changed": [positions where guidance changed the most likely token],
"chunks": [{"step": tokens
so far, "hypotheses": [{"text", "value", "kept", "ended"}]}]}``; plain data, ready for JSON.
"""


class Trace:
    """Collects the traces of all slots; every boundary waits for the device."""

    def __init__(self, guider):
        self.lm = guider.base

    def boundary(self, requests, beam, chunk, values, valid, rows, changed) -> None:
        """Record one boundary, before the beam is updated."""
        responses, kept = chunk.responses(), rows.tolist()
        values, ended = values.flatten(1).tolist(), chunk.ended.flatten(1).tolist()
        counts = chunk.counts.flatten(1).tolist()
        valid = None if valid is None else valid.tolist()
        changed = changed.flatten(1, 2).tolist()
        successors = chunk.tokens.shape[2]
        for slot, request in enumerate(requests):
            if request is None:
                continue
            before = request.trace[-1]["changed"] if request.trace else [[]] * beam.lengths.shape[1]
            step = {"step": request.done + chunk.tokens.shape[-1], "hypotheses": [], "changed": []}
            for row, tokens in enumerate(responses[slot]):
                if valid is None or valid[slot][row]:
                    step["hypotheses"].append(
                        {
                            "text": self.lm.decode(tokens),
                            "value": values[slot][row],
                            "kept": row in kept[slot],
                            "ended": ended[slot][row],
                        }
                    )
            for row in kept[slot]:
                new, start = counts[slot][row], len(responses[slot][row]) - counts[slot][row]
                marks = [start + j for j in range(new) if changed[slot][row][j]]
                step["changed"].append([*before[row // successors], *marks])
            request.trace.append(step)

    def result(self, request, tokens, best: int) -> dict:
        """The trace of the response that was chosen."""
        return {
            "tokens": [self.lm.decode([token]) for token in tokens],
            "changed": request.trace[-1]["changed"][best],
            "chunks": [{"step": step["step"], "hypotheses": step["hypotheses"]} for step in request.trace],
        }
