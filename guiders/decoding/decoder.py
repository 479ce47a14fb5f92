"""The slots of the decoder: prompts enter, rows step, hypotheses are selected, prompts leave."""

import time
from collections import deque
from collections.abc import Iterator

import torch

from guiders.decoding.beam import Beam
from guiders.decoding.stepper import Stepper, Steps
from guiders.decoding.stops import before_stop, cut_at_stop, whole_characters
from guiders.decoding.trace import Trace
from guiders.errors import GuiderError
from guiders.guider import Generation, Guider
from guiders.kv.lane import Lane
from guiders.sampling import Sampling, prompt_key, uniforms
from guiders.token.guidance import Guidance, SoFar
from guiders.value import Chunk


class Request:
    """A prompt on its way through the decoder."""

    def __init__(self, index: int, prompt, ids: list[int], limit: int, truncated: int = 0):
        self.index, self.prompt, self.ids, self.limit, self.truncated = index, prompt, ids, limit, truncated
        key = prompt_key(ids)
        self.key = key - (1 << 64) if key >= 1 << 63 else key
        self.reset()

    def reset(self) -> None:
        self.done = 0  # tokens that its running hypotheses have
        self.chunks = 0
        self.passes = 0
        self.computed = 0.0
        self.seconds = 0.0
        self.trace: list | None = []


class Decoder:
    """P slots of guided decoding; see the module. `run` may be called once."""

    @torch.inference_mode()
    def __init__(self, guider: Guider, sampling: Sampling, slots: int, columns: int, trace=False, graphs=False):
        self.guider, self.sampling, self.columns = guider, sampling, columns
        self.search = search = guider.search
        self.device = guider.base.device
        self.shape = (slots, search.survivors, search.successors)
        self.requests: list[Request | None] = [None] * slots
        self.lanes = [Lane(lm, *self.shape, columns, fixed=graphs) for lm in guider.models]
        self.scorer = guider.value.scorer(guider, slots, columns + search.released) if guider.chooses else None
        self.beam = Beam(slots, search.survivors, self.device)
        self.keys = torch.zeros(slots, dtype=torch.long, device=self.device)
        self.remaining = torch.zeros(slots, dtype=torch.long, device=self.device)
        self.done = torch.zeros(slots, dtype=torch.long, device=self.device)
        self.trace = Trace(guider) if trace else None
        wanted = self.scorer.wants_ratio if self.scorer else None
        self.guidance = Guidance(guider, sampling, self.lanes, slots) if guider.remembering else None
        self.stepper = Stepper(guider, sampling, self.lanes, wanted, trace, graphs, self.guidance)
        self.scored = 0  # positions of a scorer that does not count what it computes

    def run(self, waiting: deque) -> Iterator[Generation]:
        """Decode until no prompt waits; takes prompts from the left of `waiting`."""
        while waiting or any(self.requests):
            started, evaluated = time.perf_counter(), self._evaluated()
            with torch.inference_mode():
                self._shrink(len(waiting))
                self._admit(waiting)
                chunk, taken = self._chunk()
                finished = self._boundary(chunk, taken)
            together = [request for request in (*self.requests, *(r for r, _ in finished)) if request]
            seconds, computed = time.perf_counter() - started, self._evaluated() - evaluated
            for request in together:
                request.seconds += seconds / len(together)
                request.computed += computed / len(together)
            for request, result in finished:
                yield Generation(
                    index=request.index,
                    kl_search=self.search.divergence(len(result["tokens"]), request.limit),
                    forward_passes=request.passes,
                    seconds=request.seconds,
                    computed_passes=request.computed,
                    truncated=request.truncated,
                    **result,
                )

    def _admit(self, waiting: deque) -> None:
        """Waiting prompts take the free slots."""
        free = [slot for slot, request in enumerate(self.requests) if request is None][: len(waiting)]
        if not free:
            return
        slots = torch.tensor(free, device=self.device)
        for slot in free:
            self.requests[slot] = waiting.popleft()
            self.requests[slot].reset()
        new = [self.requests[slot] for slot in free]
        for lane in self.lanes:
            lane.prefill(free, [r.ids if lane.lm is self.guider.base else lane.lm.encode_prompt(r.prompt) for r in new])
        if self.scorer:
            self.scorer.admit(free, [r.prompt for r in new])
        if self.guidance:
            self.guidance.admit(free, [r.prompt for r in new])
        self.beam.admit(slots)
        self.keys[slots] = torch.tensor([r.key for r in new], device=self.device)
        self.remaining[slots] = torch.tensor([r.limit for r in new], device=self.device)
        self.done[slots] = 0

    def _active(self) -> torch.Tensor:
        """Slots with a prompt: ``[P]``."""
        return torch.tensor([r is not None for r in self.requests], device=self.device)

    def _chunk(self) -> tuple[Chunk, Steps]:
        """Step all rows to the next boundary; what a row drew past its end or a stop string counts nothing."""
        _, survivors, successors = self.shape
        device = self.device
        n = self.columns
        if not self.stepper.graphs:  # a graph has one length; what a row draws past its limit is not counted
            n = min(n, max(r.limit - r.done for r in self.requests if r))
        hypotheses = torch.arange(survivors * successors, device=device).view(survivors, successors, 1)
        steps = self.done.view(-1, 1, 1, 1) + torch.arange(n, device=device)
        numbers = uniforms(self.sampling.stream, self.keys.view(-1, 1, 1, 1), hypotheses, steps)
        if self.guidance:
            self.guidance.begin(SoFar(self.beam.tokens, self.beam.lengths, self.keys, self.done))
        taken = self.stepper.run(self._active(), self.beam.ended, self.remaining, numbers)
        tokens, counts, ended = taken.tokens, taken.counts, taken.ended
        if self.sampling.stop:
            tokens, counts, ended = cut_at_stop(self.guider.base, self.sampling.stop, self.beam, tokens, counts, ended)
        inside = torch.arange(tokens.shape[-1], device=device) < counts[..., None]
        chunk = Chunk(
            tokens=tokens.masked_fill(~inside, 0),
            counts=counts,
            ended=ended,
            values=self.beam.values,
            log_ratio=None if taken.ratios is None else taken.ratios.masked_fill(~inside, 0).sum(-1),
            log_weights=None if taken.weights is None else taken.weights.masked_fill(~inside, 0).sum(-1),
            responses=lambda: self.beam.responses(tokens, counts),
            text=lambda response: whole_characters(self.guider.base, response, self.sampling.stop),
        )
        return chunk, taken

    def _boundary(self, chunk: Chunk, taken: Steps) -> list[tuple[Request, dict]]:
        """Score, select, let finished prompts go; returns them with what they gave."""
        slots, survivors, successors = self.shape
        device = self.device
        continuing = torch.tensor([bool(r and r.chunks) for r in self.requests], device=device)
        values, scored = chunk.values[..., None].expand(self.shape), chunk
        if self.search.released:
            cut = (self.remaining <= chunk.tokens.shape[-1])[:, None, None] & ~chunk.ended & (chunk.counts > 0)
            scored = chunk.with_end(cut, self.guider.base.tokenizer.eos_token_id)
        if self.scorer:
            values = torch.where(chunk.counts > 0, self.scorer.score(scored).to(values.dtype), values)
            if bool((values.isnan() & self._active()[:, None, None]).any()):
                raise GuiderError(f"a value of {type(self.guider.value).__name__} is not a number; use another dtype")
        went_on = (~self.beam.ended).sum(1) * continuing
        passes = self._passes(chunk, went_on)
        if self.search.selects:
            place = torch.arange(successors, device=device)
            valid = (~self.beam.ended[..., None] | (place == 0) | self.search.released).flatten(1)
            equal = self.beam.equal_rows(chunk.tokens, chunk.counts)
            rows = self.search.select(values.flatten(1), valid, equal)
        else:
            valid = equal = None
            rows = torch.arange(survivors, device=device).expand(slots, -1)
        parents = rows // successors
        if self.trace:
            self.trace.boundary(self.requests, self.beam, chunk, values, valid, rows, taken.changed)
        self.beam.select(parents, rows, chunk, values, taken.kl, taken.over_base, equal)
        columns, limits = chunk.tokens.shape[-1], []
        self.done += columns
        self.remaining -= columns
        for request in self.requests:
            if request:
                request.done += columns
                request.chunks += 1
            limits.append(request is not None and request.done >= request.limit)
        over = (self.beam.ended.all(1) | torch.tensor(limits, device=device)).tolist()
        finished = []
        for slot, request in enumerate(self.requests):
            if request:
                request.passes += passes[slot]
                if over[slot]:
                    finished.append((request, self._result(slot, request)))
        if len(finished) < sum(r is not None for r in self.requests):
            counts = self.beam.added
            pending = self.beam.last_tokens()
            for lane in self.lanes:
                lane.commit(parents, rows, (counts - 1).clamp_min(0), not self.search.selects)
                lane.advance(pending)
            if self.scorer:
                self.scorer.commit(parents, rows, counts, pending, not self.search.selects)
            if self.guidance:
                self.guidance.commit(parents, rows, counts, not self.search.selects)
        # only now: where memory ran out above, the finished prompts are decoded again with the others
        gone = [request for request, _ in finished]
        self.requests = [None if request in gone else request for request in self.requests]
        return finished

    def _passes(self, chunk: Chunk, went_on: torch.Tensor) -> list[int]:
        """Token positions that a chunk needed, by slot."""
        needed = len(self.lanes) * ((chunk.counts - 1).clamp_min(0).sum((1, 2)) + went_on)
        if self.guidance:
            needed = needed + self.guidance.passes(chunk.counts, went_on)
        if self.scorer:
            of_value = self.scorer.passes(chunk.counts, went_on)
            needed = needed + of_value
            if not hasattr(self.scorer, "evaluated"):
                self.scored += int(of_value.sum())
        return needed.tolist()

    def _evaluated(self) -> int:
        """Token positions that all models have computed so far."""
        return sum(lane.evaluated for lane in self.lanes) + getattr(self.scorer, "evaluated", self.scored)

    def _result(self, slot: int, request: Request) -> dict:
        best = 0 if self.search.selects or not self.scorer else int(self.beam.values[slot].argmax())
        tokens = self.beam.response(slot, best)
        base, ended = self.guider.base, bool(self.beam.ended[slot, best])
        reason = "length"
        if ended:
            reason = "eos" if tokens[-1] in base.eos_ids else "stop"
        return {
            "text": before_stop(base.decode(tokens), self.sampling.stop),
            "tokens": tuple(tokens),
            "finish_reason": reason,
            "value": float(self.beam.values[slot, best]) if self.scorer else None,
            "kl": float(self.beam.kl[slot, best]),
            "log_ratio": float(self.beam.over_base[slot, best]) if self.guider.rows > 1 else None,
            "trace": self.trace.result(request, tokens, best) if self.trace else None,
        }

    def _shrink(self, waiting: int) -> None:
        """With nobody waiting, give up free slots once a quarter are free."""
        held = [slot for slot, request in enumerate(self.requests) if request]
        longest = max((self.requests[slot].done for slot in held), default=0)
        if held and not waiting and len(held) <= 0.75 * self.shape[0]:
            slots = torch.tensor(held, device=self.device)
            self.requests = [self.requests[slot] for slot in held]
            self.shape = (len(held), *self.shape[1:])
            self.beam.keep(slots)
            self.keys, self.remaining, self.done = self.keys[slots], self.remaining[slots], self.done[slots]
            for lane in self.lanes:
                lane.keep(slots)
            if self.scorer:
                self.scorer.keep(slots)
            if self.guidance:
                self.guidance.keep(slots)
        self.beam.shrink(longest)
        for part in (*self.lanes, *(part for part in (self.scorer, self.guidance) if part)):
            part.shrink(longest)
