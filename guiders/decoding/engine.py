"""Guided decoding of prompts that come and go: add one at any time, step, take what has finished.

A step decodes one chunk of every prompt that has a slot. At a boundary, finished prompts leave and waiting ones enter:
slots grow with the prompts that wait, as far as memory was allowed for, and shrink when none does. Prompts that are
drawn alike (temperature, cuts, seed, purpose, stop strings) share a decoder and may differ in their limits; others have
decoders of their own, which take turns.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from guiders.decoding.decoder import Decoder, Request
from guiders.decoding.memory import in_words, needed, usable
from guiders.decoding.room import Fitted, fitted
from guiders.errors import GuiderError
from guiders.guider import Generation, Guider
from guiders.kv.self_check import check_cacheable
from guiders.sampling import Sampling

BATCH_TOKENS = 1 << 15


class Engine:
    """Decodes for one guider; used by one thread at a time.

    A response depends on its prompt, the guider and the sampling alone: it is the same whether its request came alone,
    late, or among others (rounding of floating-point sums aside). Running out of memory halves the slots and goes on.

    Args:
        batch_tokens, trace, graphs, memory: see `guiders.generate`.
    """

    def __init__(
        self,
        guider: Guider,
        batch_tokens: int | None = None,
        trace: bool = False,
        graphs: bool = False,
        memory: int | None = None,
    ):
        self.guider, self.trace, self.graphs, self.memory = guider, trace, graphs, memory
        self.batch_tokens = batch_tokens or BATCH_TOKENS
        self._groups: dict[Sampling, _Group] = {}
        self._next = 0
        self._checked = False

    @property
    def running(self) -> int:
        """Prompts that have a slot."""
        return sum(group.running for group in self._groups.values())

    @property
    def waiting(self) -> int:
        """Prompts that have none yet."""
        return sum(len(group.waiting) for group in self._groups.values())

    @property
    def idle(self) -> bool:
        """Nothing is left to do."""
        return not self._groups

    def add(
        self,
        prompt: object,
        sampling: Sampling | None = None,
        on_long_prompt: str = "error",
        document: Mapping[str, Any] | None = None,
    ) -> int:
        """Ask for a response; returns the request's id, which its generation has as `Generation.index`.

        Args:
            prompt: a text, a list of messages, or token ids. on_long_prompt: see `guiders.generate`.
            document: what the prompt comes with, for a constraint of its own; None: nothing.

        Raises:
            GuiderError: the prompt leaves no room for a response, or is none; the others are not affected.
        """
        sampling = sampling or Sampling()
        (one,) = fitted(self.guider, [prompt], sampling, on_long_prompt, [f"prompt {self._next}"])
        return self.add_fitted(one, sampling, document)

    def add_fitted(self, one: Fitted, sampling: Sampling, document: Mapping[str, Any] | None = None) -> int:
        """`add` of a prompt whose room is known."""
        identity, base = self._next, self.guider.base
        if outside := [i for i in one.ids if not 0 <= i < base.config.vocab_size]:
            raise GuiderError(f"prompt {identity} has the id {outside[0]}, which {base.name} does not have")
        alike = replace(sampling, max_new_tokens=1)
        group = self._groups.setdefault(alike, _Group(self, alike))
        request = Request(identity, one.prompt, one.ids, one.limit, one.truncated, document)
        group.add(request, sampling.max_new_tokens)
        self._next += 1
        return identity

    def cancel(self, identity: int) -> bool:
        """Give a request up, waiting or running; False where there is none (any more)."""
        found = any(group.cancel(identity) for group in self._groups.values())
        self._forget()
        return found

    def step(self) -> list[Generation]:
        """Decode one chunk of every running prompt, those first that had none: what has finished.

        Raises:
            GuiderError: a model of the wrong kind; logits or values that are not numbers; no memory for one prompt.
        """
        if not self._checked:
            guider = self.guider
            guider.check_heads()
            for lm in (*guider.models, *(getattr(guider.value, "models", ()) if guider.chooses else ())):
                check_cacheable(lm)
            self._checked = True
        finished: list[Generation] = []
        for group in list(self._groups.values()):
            finished += group.step(self.batch_tokens // len(self._groups))
        self._forget()
        return finished

    def _forget(self) -> None:
        """Let the groups go that have nothing left to do, with their caches."""
        self._groups = {alike: group for alike, group in self._groups.items() if group.waiting or group.running}


class _Group:
    """The requests that are drawn alike, and their decoder."""

    def __init__(self, engine: Engine, sampling: Sampling):
        self.engine, self.sampling, self.search = engine, sampling, engine.guider.search
        self.waiting: deque[Request] = deque()
        self.decoder: Decoder | None = None
        self.longest = self.limit = 0  # tokens of the longest prompt, and of a response, so far
        self.most: int | None = None  # slots, once memory has run out
        self.memory: int | None = None  # bytes for all slots, as there were when the decoder was made

    @property
    def running(self) -> int:
        return sum(request is not None for request in self.decoder.requests) if self.decoder else 0

    def add(self, request: Request, limit: int) -> None:
        self.waiting.append(request)
        self.longest, self.limit = max(self.longest, len(request.ids)), max(self.limit, limit)

    def cancel(self, identity: int) -> bool:
        for request in self.waiting:
            if request.index == identity:
                self.waiting.remove(request)
                return True
        return self.decoder is not None and self.decoder.cancel(identity)

    @property
    def columns(self) -> int:
        """Tokens of a chunk at most."""
        return min(self.search.ends.most or self.limit, self.limit)

    def step(self, batch_tokens: int) -> list[Generation]:
        """One chunk, in as many slots as `batch_tokens` allow, or memory."""
        each = self.longest + self.search.survivors * (self.limit + self.search.successors * self.columns)
        allowed = max(1, min(batch_tokens // each, self.most or batch_tokens))
        if self.decoder is None or (not self.running and self._outgrown()):
            engine = self.engine
            self.decoder = None  # before there is another one: caches are large
            self.memory = usable(engine.guider.base.device, engine.memory)
            slots = min(len(self.waiting), allowed, self._fits())
            self.decoder = Decoder(engine.guider, self.sampling, slots, self.columns, engine.trace, engine.graphs)
        elif not self._outgrown():
            self.decoder.grow(min(self.running + len(self.waiting), allowed, self._fits()))
        try:
            return self.decoder.step(deque() if self.running and self._outgrown() else self.waiting)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            slots = self.decoder.shape[0]
            if slots == 1:
                raise GuiderError(
                    "out of memory with a single prompt; use fewer rows (W·K), fewer tokens or a smaller dtype"
                ) from error
            self.waiting.extendleft(reversed([r for r in self.decoder.requests if r]))
            self.most = slots // 2
        self.decoder = None  # after the exception, which holds its tensors
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return []

    def _fits(self) -> int:
        """Slots for which there is memory.

        Raises:
            GuiderError: not even for one.
        """
        guider = self.engine.guider
        if self.memory is None:
            return len(self.waiting) + self.running
        need = needed(guider, self.longest, self.limit, guider.base.device.type)
        if need.total > self.memory:
            raise GuiderError(
                f"{need.in_words(guider.rows)}, and decoding has {in_words(self.memory)}; use fewer rows (W·K, N), "
                "fewer tokens (max_new_tokens) or a smaller dtype"
            )
        return self.memory // need.total

    def _outgrown(self) -> bool:
        """Can no more prompts enter the decoder? Its survivors have become fewer, or a request wants longer chunks."""
        return self.decoder is not None and (self.decoder.spent or self.columns > self.decoder.columns)


def _is_out_of_memory(error: RuntimeError) -> bool:
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "not enough memory" in str(error)
        or "can't allocate memory" in str(error)
    )
