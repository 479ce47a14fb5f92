"""The slots of the decoder: prompts enter, rows step, hypotheses are selected, prompts leave."""

import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from guiders.decoding.beam import Beam
from guiders.decoding.boundary import EqualRows, check_search, chosen, rows_seen, rows_wanted, selected, survivors_seen
from guiders.decoding.request import Request
from guiders.decoding.stepper import Stepper, Steps
from guiders.decoding.stops import before_stop, cut_at_stop, whole_characters
from guiders.decoding.trace import Trace
from guiders.errors import GuiderError
from guiders.guider import Generation, Guider
from guiders.kv.lane import Lane
from guiders.sampling import Sampling, uniforms
from guiders.search import Selection
from guiders.token.guidance import Guidance, SoFar, finish_reason
from guiders.value import Chunk


class Decoder:
    """P slots of guided decoding; see the module."""

    @torch.inference_mode()
    def __init__(
        self, guider: Guider, sampling: Sampling, slots: int, columns: int, trace: bool = False, graphs: bool = False
    ):
        self.guider, self.sampling, self.columns = guider, sampling, columns
        self.search = search = guider.search
        self.device = guider.base.device
        self.shape = (slots, search.survivors, search.successors)
        self.waves = search.shrinks  # whose survivors are fewer with time: all prompts begin together
        self.requests: list[Request | None] = [None] * slots
        self.lanes = [Lane(lm, *self.shape, columns, fixed=graphs) for lm in guider.models]
        check_search(search, sampling, self.lanes)
        scored = columns + search.scores_cut_with_end
        self.scorer = guider.value.scorer(guider, slots, scored) if guider.value and guider.chooses else None
        self.beam = Beam(slots, search.survivors, self.device, search.revises)
        self.keys = torch.zeros(slots, dtype=torch.long, device=self.device)
        self.limits = torch.zeros(slots, dtype=torch.long, device=self.device)  # tokens that a response may have
        self.clock = torch.zeros(slots, dtype=torch.long, device=self.device)  # columns that its rows have stepped
        self.trace = Trace(guider) if trace else None
        wanted = self.scorer.wants_ratio if self.scorer else None
        self.guidance = Guidance(guider, sampling, self.lanes, slots) if guider.remembering else None
        self.stepper = Stepper(guider, sampling, self.lanes, wanted, trace, graphs, self.guidance)
        self.stepped, self.scored = False, 0  # positions of a scorer that does not count what it computes

    def run(self, waiting: deque) -> Iterator[Generation]:
        """Decode until no prompt waits; takes prompts from the left of `waiting`. In waves: until the first is done."""
        while any(self.requests) or (waiting and not self.spent):
            yield from self.step(waiting)

    @property
    def spent(self) -> bool:
        """Can no more prompts enter, as survivors may have become fewer?"""
        return self.waves and self.stepped

    def step(self, waiting: deque) -> list[Generation]:
        """One chunk of every prompt: prompts from the left of `waiting` enter first, finished ones are returned."""
        started, evaluated = time.perf_counter(), self._evaluated()
        with torch.inference_mode():
            self._shrink(0 if self.waves else len(waiting))
            self._admit(waiting)
            chunk, taken = self._chunk()
            finished = self._boundary(chunk, taken)
        together = [request for request in (*self.requests, *(r for r, _ in finished)) if request]
        seconds, computed = time.perf_counter() - started, self._evaluated() - evaluated
        for request in together:
            request.seconds += seconds / len(together)
            request.computed += computed / len(together)
        return [
            Generation(
                index=request.index,
                kl_search=self.search.divergence(len(result["tokens"]), request.limit),
                forward_passes=request.passes,
                seconds=request.seconds,
                computed_passes=request.computed,
                truncated=request.truncated,
                **result,
            )
            for request, result in finished
        ]

    def cancel(self, index: int) -> bool:
        """Give up the prompt of that index; False where there is none. Its slot is free at the next step."""
        for slot, request in enumerate(self.requests):
            if request and request.index == index:
                self.requests[slot] = None
                return True
        return False

    @torch.inference_mode()
    def grow(self, slots: int) -> None:
        """Make more slots, where there are fewer than `slots`."""
        extra = slots - self.shape[0]
        if extra > 0:
            self._keep([*range(self.shape[0]), *[0] * extra])  # copies of a slot, until a prompt enters
            self.requests[-extra:] = [None] * extra

    def _admit(self, waiting: deque) -> None:
        """Waiting prompts take the free slots."""
        free = [slot for slot, request in enumerate(self.requests) if request is None][: len(waiting)]
        if self.spent or not free:
            return
        slots = torch.tensor(free, device=self.device)
        new: list[Request] = [waiting.popleft() for _ in free]
        for slot, request in zip(free, new, strict=True):
            request.reset()
            self.requests[slot] = request
        for lane in self.lanes:
            lane.prefill(free, [r.ids if lane.lm is self.guider.base else lane.lm.encode_prompt(r.prompt) for r in new])
        if self.scorer:
            self.scorer.admit(free, [r.prompt for r in new])
        if self.guidance:
            self.guidance.admit(free, [r.prompt for r in new], [r.document for r in new])
        self.beam.admit(slots)
        self.keys[slots] = torch.tensor([r.key for r in new], device=self.device)
        self.limits[slots] = torch.tensor([r.limit for r in new], device=self.device)
        self.clock[slots] = 0

    def _active(self) -> torch.Tensor:
        """Slots with a prompt: ``[P]``."""
        return torch.tensor([r is not None for r in self.requests], device=self.device)

    def _chunk(self) -> tuple[Chunk, Steps]:
        """Step all rows to the next boundary; what a row drew past its end or a stop string counts nothing."""
        (_, survivors, successors), device = self.shape, self.device
        left = max(r.left for r in self.requests if r)  # what a row draws past its limit is not counted
        n = self.columns if self.stepper.graphs else min(self.columns, left)  # a graph has one length
        hypotheses = torch.arange(survivors * successors, device=device).view(survivors, successors, 1)
        steps = self.clock.view(-1, 1, 1, 1) + torch.arange(n, device=device)
        numbers = uniforms(self.sampling.stream, self.keys.view(-1, 1, 1, 1), hypotheses, steps)
        remaining = self.limits[:, None] - self.beam.lengths
        if self.guidance:
            self.guidance.begin(SoFar(self.beam.tokens, self.beam.lengths, self.keys, self.clock))
        taken = self.stepper.run(self._active(), self.beam.ended, remaining, numbers)
        self.stepped = True
        tokens, counts, ended = taken.tokens, taken.counts, taken.ended
        if self.sampling.stop:
            tokens, counts, ended = cut_at_stop(self.guider.base, self.sampling.stop, self.beam, tokens, counts, ended)
        inside = torch.arange(tokens.shape[-1], device=device) < counts[..., None]
        over = ended | (counts >= remaining[..., None])
        chunk = Chunk(
            tokens=tokens.masked_fill(~inside, 0),
            counts=counts,
            ended=ended,
            values=self.beam.values,
            log_ratio=None if taken.ratios is None else taken.ratios.masked_fill(~inside, 0).sum(-1),
            log_weights=None if taken.weights is None else taken.weights.masked_fill(~inside, 0).sum(-1),
            responses=lambda: self.beam.responses(tokens, counts),
            text=lambda response: whole_characters(self.guider.base, response, self.sampling.stop),
            wanted=rows_wanted(self.search, self.scorer, counts, over),
            over=over,
            stop=self.sampling.stop,
        )
        return chunk, taken

    def _boundary(self, chunk: Chunk, taken: Steps) -> list[tuple[Request, dict]]:
        """Score, select, let finished prompts go; returns them with what they gave."""
        values = self._values(chunk)
        passes = self._passes(chunk, self._going_on())
        self.clock += chunk.counts.amax((1, 2))
        for request in self.requests:
            if request:
                request.chunks += 1
        equal = EqualRows(self.beam, chunk.tokens, chunk.counts)
        row_facts = (chunk, values, taken.over_base, self.limits, self._chunks(), equal, self._numbers)
        boundary = rows_seen(self.search, self.beam, *row_facts)
        selection, identity = selected(self.search, boundary, self.shape)
        rows, parents = selection.rows, selection.rows // self.shape[2]
        if self.trace and taken.changed is not None and taken.ranks is not None:
            self.trace.boundary(self.requests, self.beam, chunk, boundary, selection, taken.changed, taken.ranks)
        starts = self.beam.select(parents, rows, chunk, values, taken.measured, equal.found, selection)
        self.shape = (self.shape[0], rows.shape[1], self.shape[2])
        if self.guidance:
            self.guidance.commit(parents, rows, self.beam.added, identity)
        finished = self._finished(selection, passes)
        if len(finished) < sum(r is not None for r in self.requests):
            counts, pending = self.beam.added, self.beam.last_tokens()
            for lane in self.lanes:
                lane.follow(parents, rows, counts, pending, identity, starts)
            if self.scorer:
                self.scorer.commit(parents, rows, counts, pending, identity, *(() if starts is None else (starts,)))
        # only now: where memory ran out above, the finished prompts are decoded again with the others
        gone = [request for request, _ in finished]
        self.requests = [None if request in gone else request for request in self.requests]
        return finished

    def _going_on(self) -> torch.Tensor:
        """Survivors that the chunk's rows went on from, so that their last tokens were read: ``[P]``."""
        continuing = torch.tensor([bool(r and r.chunks) for r in self.requests], device=self.device)
        running = ~self.beam.ended & (self.beam.lengths > 0) & (self.beam.lengths < self.limits[:, None])
        return running.sum(1) * continuing

    def _values(self, chunk: Chunk) -> torch.Tensor:
        """Every row's value ``[P, S, K]``; of rows that added no token, their survivor's."""
        values = chunk.values[..., None].expand(chunk.counts.shape)
        if not self.scorer:
            return values
        scored = chunk
        if self.search.scores_cut_with_end:
            lengths = self.beam.lengths[..., None] + chunk.counts
            cut = (lengths >= self.limits[:, None, None]) & ~chunk.ended & (chunk.counts > 0)
            scored = chunk.with_end(cut, self.guider.base.tokenizer.eos_token_id)
        values = torch.where(chunk.scored, self.scorer.score(scored).to(values.dtype), values)
        if bool((values.isnan() & (chunk.counts > 0) & self._active()[:, None, None]).any()):
            raise GuiderError(f"a value of {type(self.guider.value).__name__} is not a number; use another dtype")
        return values

    def _numbers(self, m: int) -> torch.Tensor:
        """The search's own uniform numbers ``[P, m]`` at this boundary."""
        stream = replace(self.sampling, purpose=f"{self.sampling.purpose}/select").stream
        return uniforms(stream, self.keys[:, None], torch.arange(m, device=self.device), self.clock[:, None])

    def _chunks(self) -> torch.Tensor:
        """Boundaries that every slot's prompt has come to: ``[P]``."""
        return torch.tensor([r.chunks if r else 0 for r in self.requests], device=self.device)

    def _finished(self, selection: Selection, passes: list[int]) -> list[tuple[Request, dict]]:
        """The prompts that are done, with what they gave; notes what is left to do for the others."""
        beam = self.beam
        left = (self.limits[:, None] - beam.lengths).masked_fill(beam.ended, 0).amax(1)
        done = left <= 0
        if selection.finished is not None:
            done = done | selection.finished
        noted = torch.stack([done.long(), left, beam.lengths.amax(1)]).tolist()
        seen = survivors_seen(beam, self.limits, self._chunks(), self._numbers)
        answers = chosen(self.search, seen) if any(noted[0]) else []
        finished = []
        for slot, request in enumerate(self.requests):
            if request:
                over, request.left, request.longest = (column[slot] for column in noted)
                request.passes += passes[slot]
                if over:
                    finished.append((request, self._result(slot, *answers[slot], request)))
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
        of_lanes = sum(lane.evaluated for lane in self.lanes) + (self.guidance.evaluated if self.guidance else 0)
        return of_lanes + getattr(self.scorer, "evaluated", self.scored)

    def _result(self, slot: int, best: int, weight: float | None, request: Request) -> dict:
        tokens = self.beam.response(slot, best)
        base, ended = self.guider.base, bool(self.beam.ended[slot, best])
        return {
            "text": before_stop(base.decode(tokens), self.sampling.stop),
            "tokens": tuple(tokens),
            "finish_reason": finish_reason(base, self.guidance, slot, tokens, ended),
            "value": None if math.isnan(value := float(self.beam.values[slot, best])) or not self.scorer else value,
            "kl": float(self.beam.kl[slot, best]),
            "log_ratio": float(self.beam.over_base[slot, best]) if self.guider.selects else None,
            "trace": self.trace.result(request, tokens, best) if self.trace else None,
            "notes": self.beam.notes(slot, best) | (self.guidance.notes(slot, best) if self.guidance else {}),
            "log_weight": weight,
        }

    def _shrink(self, waiting: int) -> None:
        """With nobody waiting, give up free slots once a quarter are free."""
        held = [slot for slot, request in enumerate(self.requests) if request]
        longest = max((request.longest for request in self.requests if request), default=0)
        if held and not waiting and len(held) <= 0.75 * self.shape[0]:
            self._keep(held)
        self.beam.shrink(longest)
        for part in self._following():
            part.shrink(longest)

    def _keep(self, held: list[int]) -> None:
        """Go on with these slots, in this order."""
        slots = torch.tensor(held, device=self.device)
        self.requests = [self.requests[slot] for slot in held]
        self.shape = (len(held), *self.shape[1:])
        self.beam.keep(slots)
        self.keys, self.limits, self.clock = self.keys[slots], self.limits[slots], self.clock[slots]
        for part in self._following():
            part.keep(slots)

    def _following(self) -> tuple[Any, ...]:
        """What follows the slots besides the beam."""
        return (*self.lanes, *(part for part in (self.scorer, self.guidance) if part))
