"""The one loop: guided decoding of many prompts at once.

The decoder holds P slots, one prompt each, of S surviving hypotheses with K successors: P·S·K rows that step
together. All
methods run through it; they differ in their parts (`guiders.guider`). Between two boundaries (every L tokens)
nothing waits for the device;
at a boundary rows are scored and selected, finished prompts leave and waiting ones enter.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence

import torch

from guiders.beam import Beam
from guiders.errors import GuiderError
from guiders.guider import Generation, Guider
from guiders.lane import Lane
from guiders.lm import LM
from guiders.sampling import Sampling, distribution, divergence, draw, prompt_key, uniforms
from guiders.search.sample import QUANTUM
from guiders.self_check import check_cacheable
from guiders.stops import cut_at_stop
from guiders.trace import Trace
from guiders.value import Chunk

BATCH_TOKENS = 1 << 15


def generate(
    guider: Guider,
    prompts: Sequence,
    sampling: Sampling | None = None,
    batch_tokens: int | None = None,
    trace: bool = False,
) -> Iterator[Generation]:
    """Decode every prompt with guidance; yields each as it finishes, in any order.

    A response depends on its prompt, the guider and the sampling alone: not on its batch-mates, the batch size or the
    order (rounding of floating-point sums aside). Running out of memory halves the batch and goes on.

    Args:
        prompts: texts, lists of messages, or lists of token ids.
        batch_tokens: tokens that all caches of one model may hold at once (a prompt counts once, its history once per
            survivor, a chunk once per row); decides how many prompts are decoded together. Default 32,768.
        trace: record what guidance and search did at every step (slower).

    Raises:
        GuiderError: a prompt that leaves no room for a response; logits that are not numbers; no memory for one prompt.
    """
    sampling = sampling or Sampling()
    waiting, readers = deque(), guider.readers
    spare = int(guider.search.released)  # it scores an end token after a row that was cut
    for index, prompt in enumerate(prompts):
        ids = guider.base.encode_prompt(prompt)
        room = min(_room(lm, ids if lm is guider.base else lm.encode_prompt(prompt), index, spare) for lm in readers)
        waiting.append(_Request(index, prompt, ids, min(room, sampling.max_new_tokens)))
    if not waiting:
        return
    for lm in (*guider.models, *getattr(guider.value, "models", ())):
        check_cacheable(lm)
    search = guider.search
    columns = min(search.length or sampling.max_new_tokens, sampling.max_new_tokens)
    longest = max(len(r.ids) for r in waiting)
    each = longest + search.survivors * (sampling.max_new_tokens + search.successors * columns)
    slots = max(1, min(len(waiting), (batch_tokens or BATCH_TOKENS) // each))
    while waiting:
        decoder = Decoder(guider, sampling, slots, columns, trace)
        try:
            yield from decoder.run(waiting)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            if slots == 1:
                raise GuiderError(
                    "out of memory with a single prompt; use fewer rows (W·K), fewer tokens or a smaller dtype"
                ) from error
            waiting.extendleft(reversed([r for r in decoder.requests if r]))
            slots //= 2
            del decoder
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def _room(lm: LM, ids: list[int], index: int, spare: int) -> int:
    """Tokens that a response may have before this model's context ends."""
    room = lm.max_length - len(ids) - spare
    if room < 1:
        raise GuiderError(
            f"prompt {index} has {len(ids)} tokens and {lm.name} a context of {lm.max_length}; shorten the prompt"
        )
    return room


def _is_out_of_memory(error: RuntimeError) -> bool:
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "not enough memory" in str(error)
        or "can't allocate memory" in str(error)
    )


class _Request:
    """A prompt on its way through the decoder."""

    def __init__(self, index: int, prompt, ids: list[int], limit: int):
        self.index, self.prompt, self.ids, self.limit = index, prompt, ids, limit
        key = prompt_key(ids)
        self.key = key - (1 << 64) if key >= 1 << 63 else key
        self.reset()

    def reset(self) -> None:
        self.done = 0  # tokens that its running hypotheses have
        self.chunks = 0
        self.passes = 0
        self.seconds = 0.0
        self.trace: list | None = []


class Decoder:
    """P slots of guided decoding; see the module. `run` may be called once."""

    @torch.inference_mode()
    def __init__(self, guider: Guider, sampling: Sampling, slots: int, columns: int, trace: bool):
        self.guider, self.sampling, self.columns = guider, sampling, columns
        self.search = search = guider.search
        self.device = guider.base.device
        self.shape = (slots, search.survivors, search.successors)
        self.requests: list[_Request | None] = [None] * slots
        self.lanes = [Lane(lm, *self.shape, columns) for lm in guider.models]
        chooses = search.selects or search.survivors > 1
        self.scorer = guider.value.scorer(guider, slots, columns + search.released) if chooses else None
        self.beam = Beam(slots, search.survivors, self.device)
        self.eos = torch.tensor(guider.base.eos_ids, dtype=torch.long, device=self.device)
        self.keys = torch.zeros(slots, dtype=torch.long, device=self.device)
        self.remaining = torch.zeros(slots, dtype=torch.long, device=self.device)
        self.done = torch.zeros(slots, dtype=torch.long, device=self.device)
        self.trace = Trace(guider) if trace else None
        self.measures_kl = bool(guider.guides) or sampling.temperature == 0 or sampling.top_k > 0 or sampling.top_p < 1

    def run(self, waiting: deque) -> Iterator[Generation]:
        """Decode until no prompt waits; takes prompts from the left of `waiting`."""
        while waiting or any(self.requests):
            started = time.perf_counter()
            with torch.inference_mode():
                self._shrink(len(waiting))
                self._admit(waiting)
                chunk, kl, changed = self._chunk()
                finished = self._boundary(chunk, kl, changed)
            share = (time.perf_counter() - started) / (len(finished) + sum(r is not None for r in self.requests))
            for request in (*self.requests, *(r for r, _ in finished)):
                if request:
                    request.seconds += share
            for request, result in finished:
                yield Generation(
                    index=request.index,
                    kl_search=self.search.divergence(request.chunks),
                    forward_passes=request.passes,
                    seconds=request.seconds,
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
            lane.prefill(
                slots, [r.ids if lane.lm is self.guider.base else lane.lm.encode_prompt(r.prompt) for r in new]
            )
        if self.scorer:
            self.scorer.admit(slots, [r.prompt for r in new])
        self.beam.admit(slots)
        self.keys[slots] = torch.tensor([r.key for r in new], device=self.device)
        self.remaining[slots] = torch.tensor([r.limit for r in new], device=self.device)
        self.done[slots] = 0

    def _chunk(self):
        """Step all rows to the next boundary; nothing here waits for the device but a look every 16 steps."""
        _, survivors, successors = self.shape
        device = self.device
        n = min(self.columns, max(r.limit - r.done for r in self.requests if r))
        active = torch.tensor([r is not None for r in self.requests], device=device)
        alive = (active[:, None] & ~self.beam.ended)[..., None].expand(self.shape)
        steps = torch.arange(n, device=device)
        hypotheses = torch.arange(survivors * successors, device=device).view(survivors, successors, 1)
        numbers = uniforms(
            self.sampling.seed, self.keys.view(-1, 1, 1, 1), hypotheses, self.done.view(-1, 1, 1, 1) + steps
        )
        tokens = torch.zeros(*self.shape, n, dtype=torch.long, device=device)
        counts = torch.zeros(self.shape, dtype=torch.long, device=device)
        ended = self.beam.ended[..., None].expand(self.shape)
        wanted = self.scorer.wants_ratio if self.scorer else None
        ratios = None if wanted is None else torch.zeros(*self.shape, n, dtype=torch.float64, device=device)
        kl = torch.zeros(*self.shape, n, dtype=torch.float64, device=device)
        changed = torch.zeros(*self.shape, n, dtype=torch.bool, device=device) if self.trace else None
        used = n
        for t in range(n):
            first = t == 0
            logits = [lane.next_logits if first else lane.step(tokens[..., t - 1]) for lane in self.lanes]
            guided = self.guider.combine(logits)
            probabilities = distribution(guided, self.sampling)
            # at the first step one distribution serves all successors of a survivor, later each row has its own
            new = draw(probabilities, numbers[..., t] if first else numbers[..., t : t + 1])
            tokens[..., t] = torch.where(alive, new if first else new[..., 0], 0)
            if ratios is not None:
                ratios[..., t] = _log_ratio(logits[wanted], logits[wanted + 1], new, first)
            if self.measures_kl:
                step_kl = divergence(
                    probabilities, logits[0][..., : guided.shape[-1]].to(guided.dtype), self.sampling.temperature
                )
                kl[..., t] = step_kl[..., None] if first else step_kl
            if changed is not None:
                other = guided.argmax(-1) != logits[0].argmax(-1)
                changed[..., t] = other[..., None] if first else other
            counts = counts + alive
            ended = ended | (alive & torch.isin(tokens[..., t], self.eos))
            alive = alive & ~ended & (t + 1 < self.remaining)[:, None, None]
            if (t + 1) % QUANTUM == 0 and t + 1 < n and not bool(alive.any()):
                used = t + 1
                break
        if not bool(torch.isfinite(guided[active]).any(-1).all()):
            raise GuiderError(
                f"the guided logits of {self.guider.base.name} are not numbers; use another dtype or a smaller weight"
            )
        tokens, kl = tokens[..., :used], kl[..., :used]
        changed = None if changed is None else changed[..., :used]
        if self.sampling.stop:
            tokens, counts, ended = cut_at_stop(self.guider.base, self.sampling.stop, self.beam, tokens, counts, ended)
        inside = torch.arange(used, device=device) < counts[..., None]
        chunk = Chunk(
            tokens=tokens.masked_fill(~inside, 0),
            counts=counts,
            ended=ended,
            values=self.beam.values,
            log_ratio=None if ratios is None else ratios[..., :used].masked_fill(~inside, 0).sum(-1),
            responses=lambda: self.beam.responses(tokens, counts),
        )
        return chunk, kl.masked_fill(~inside, 0).sum(-1), changed

    def _boundary(self, chunk: Chunk, kl: torch.Tensor, changed) -> list[tuple[_Request, dict]]:
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
            self.trace.boundary(self.requests, self.beam, chunk, values, valid, rows, changed)
        self.beam.select(parents, rows, chunk, values, kl, equal)
        taken, limits = chunk.tokens.shape[-1], []
        self.done += taken
        self.remaining -= taken
        for request in self.requests:
            if request:
                request.done += taken
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
        # only now: where memory ran out above, the finished prompts are decoded again with the others
        gone = [request for request, _ in finished]
        self.requests = [None if request in gone else request for request in self.requests]
        return finished

    def _passes(self, chunk: Chunk, went_on: torch.Tensor) -> list[int]:
        own = len(self.lanes) * ((chunk.counts - 1).clamp_min(0).sum((1, 2)) + went_on)
        return (own + self.scorer.passes(chunk.counts, went_on) if self.scorer else own).tolist()

    def _result(self, slot: int, request: _Request) -> dict:
        best = 0 if self.search.selects or not self.scorer else int(self.beam.values[slot].argmax())
        tokens = self.beam.response(slot, best)
        base, ended = self.guider.base, bool(self.beam.ended[slot, best])
        text, reason = base.decode(tokens), "length"
        if ended:
            reason = "eos" if tokens[-1] in base.eos_ids else "stop"
        if reason == "stop":
            text = text[: min(at for at in (text.find(s) for s in self.sampling.stop) if at >= 0)]
        return {
            "text": text,
            "tokens": tuple(tokens),
            "finish_reason": reason,
            "value": float(self.beam.values[slot, best]) if self.scorer else None,
            "kl": float(self.beam.kl[slot, best]),
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
        for part in (*self.lanes, *([self.scorer] if self.scorer else [])):
            part.shrink(longest)


def _log_ratio(tuned: torch.Tensor, untuned: torch.Tensor, tokens: torch.Tensor, first: bool) -> torch.Tensor:
    """log π⁺ − log π⁻ of the drawn tokens: ``[P, S, K]``."""
    tokens = tokens.to(tuned.device)
    ratio = (tuned.gather(-1, tokens) - tuned.logsumexp(-1, keepdim=True)).double()
    ratio = ratio - (untuned.gather(-1, tokens) - untuned.logsumexp(-1, keepdim=True)).double().to(ratio.device)
    return ratio if first else ratio[..., 0]
