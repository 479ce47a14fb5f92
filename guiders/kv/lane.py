"""A model and its segmented cache, moving along with the slots of the decoder."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from guiders.cpu.head import HeadBuffer
from guiders.cpu.packed import PackedWeights
from guiders.errors import GuiderError
from guiders.kv.attention import attending
from guiders.kv.exclusive import exclusive
from guiders.kv.passes import Columns, Pass, in_a_row, in_groups
from guiders.kv.peek import peek
from guiders.kv.segments import SegmentCache
from guiders.models.lm import LM
from guiders.models.vocab import check_ids

LOGITS_BUDGET = 1 << 26  # values that one pass may put out: wider vocabularies are consumed a few columns at a time
# Tokens of one pass, where there is a choice. A CPU works best on what stays in its cache; a GPU wants a lot at once.
CPU_TOKENS, GPU_TOKENS = 512, 8192


class Lane:
    """One model's state for P slots of S survivors with K successors each.

    Rows are always the full rectangle: rows that have ended are computed and never read, which keeps every shape
    static.

    Args:
        lm: the model. slots, survivors, successors: P, S, K. columns: tokens that a chunk may have.
        fixed: for graphs of single steps: keep tensors at their addresses, read the shared segments in steps of 64
            columns, and count the chunk's columns on the device.
    """

    def __init__(self, lm: LM, slots: int, survivors: int, successors: int, columns: int, fixed: bool = False):
        self.lm, self.model, self.device = lm, lm.model, lm.device
        self.cache = SegmentCache(slots, survivors, successors, columns, fixed, lm.config)
        self.recurrent = self.cache.states.recurrent
        with exclusive(lm.model):  # another thread's pass puts forward functions of its own in their place
            self.head = HeadBuffer(lm.model)
            self.packed = PackedWeights(lm.model, besides=self.head.head)
        self.block = 64 if fixed else 1
        self.column = torch.zeros(1, dtype=torch.long, device=self.device) if fixed else None
        self.some_tokens = CPU_TOKENS if self.device.type == "cpu" else GPU_TOKENS
        self.prompt_lengths = torch.ones(slots, dtype=torch.long, device=self.device)
        self.prompt_sizes = [1] * slots  # the same, known on the host
        self.starts = torch.zeros(slots, survivors, dtype=torch.long, device=self.device)
        self.longest = 0  # host-side bound of `starts`, so that no length is ever read back from the device
        self._next_logits: Tensor | None = None
        self._after_prompt: Tensor | None = None  # [P, V]
        self.offset = self._evaluated = self.peeked = 0  # peeked: positions of alternatives

    @property
    def next_logits(self) -> Tensor:
        """``[P, S, V]`` logits after each survivor's last token."""
        assert self._next_logits is not None  # a prompt is read first
        return self._next_logits

    @property
    def after_prompt(self) -> Tensor:
        """``[P, V]`` logits after each prompt."""
        assert self._after_prompt is not None  # a prompt is read first
        return self._after_prompt

    @property
    def evaluated(self) -> int:
        """Token positions computed so far, of all rows and slots; prompts not counted."""
        return self.peeked + self._evaluated + self.offset * self.starts.numel() * self.cache.shape[2]

    def prefill(self, slots: Sequence[int], prompts: list[list[int]]) -> Tensor:
        """Read new prompts into these slots, each once. Returns the logits after each: ``[n, V]``.

        Prompts stand one after the other in a single row: nothing is padded. Where states run through a row, each has
        one of its own.
        """
        for slot, prompt in zip(slots, prompts, strict=True):
            check_ids(prompt, self.lm.config.vocab_size, self.lm.name)
            self.prompt_sizes[slot] = len(prompt)
        groups = in_groups(prompts, 1 if self.recurrent else self.some_tokens)
        logits = torch.cat([self._prefill(slots[some], prompts[some]) for some in groups])
        which = torch.tensor(slots, device=self.device)
        self.prompt_lengths[which] = torch.tensor([len(p) for p in prompts], device=self.device)
        self.starts[which] = 0
        if self._next_logits is None:
            self._next_logits = logits.new_zeros(*self.cache.shape[:2], logits.shape[-1])
            self._after_prompt = self._next_logits[:, 0].clone()
        self.next_logits[which.to(logits.device)] = logits[:, None]
        self.after_prompt[which.to(logits.device)] = logits
        self._restart()
        return logits

    def _prefill(self, slots: Sequence[int], prompts: list[list[int]]) -> Tensor:
        lengths = tuple(map(len, prompts))
        tokens, positions = in_a_row(prompts, self.device)
        last = torch.tensor(lengths, device=self.device).cumsum(0) - 1
        now = Pass("prefill", positions, slots=tuple(slots), lengths=lengths, **self._read())
        return self._forward(tokens, now, last)[0].clone()

    def advance(self, tokens: Tensor) -> None:
        """Give every survivor its pending token ``[P, S]``, once for all its successors; sets `next_logits`."""
        self.starts += 1
        self.longest += 1
        self._evaluated += self.starts.numel()
        lengths = self._survivor_lengths()
        positions = (lengths + self.starts - 1).reshape(-1, 1)
        starts, prompts = self.starts.reshape(-1), lengths.reshape(-1)
        now = Pass("history", positions, starts=starts, prompt_lengths=prompts, **self._read())
        logits = self._forward(tokens.to(self.device).reshape(-1, 1), now)
        self.next_logits.copy_(logits.view(*tokens.shape, -1))

    def step(self, tokens: Tensor) -> Tensor:
        """One token for every row: ``[P, S, K]`` -> logits ``[P, S, K, V]``, overwritten by the next pass."""
        return self._consume(tokens[..., None])[..., 0, :]

    def consume(self, tokens: Tensor, starts: Tensor | None = None, counts: Tensor | None = None) -> Tensor:
        """Several tokens for every row: ``[P, S, K, n]`` -> logits ``[P, S, K, n, V]``, overwritten by the next pass.

        Args:
            starts: ``[P, S, K]`` tokens of its survivor's history that a row goes on from; all of them where None.
            counts: ``[P, S, K]`` tokens of the chunk that `commit` may keep of a row; all of them where None. Only
                recurrent states need to know, which can't forget a token: they read one column at a time.

        Raises:
            GuiderError: `starts` for a model with recurrent states.
        """
        if not self.recurrent:
            return self._consume(tokens, starts)
        if starts is not None:
            raise GuiderError(
                f"{self.lm.name} has recurrent layers, which can't go back in a text; use a value model with the "
                "base's tokenizer"
            )
        logits = []
        for column in range(tokens.shape[-1]):
            inside = None if counts is None else (self.offset < counts.to(self.device)).reshape(-1)
            logits.append(self._consume(tokens[..., column : column + 1], None, inside).clone())
        return torch.cat(logits, -2)

    def _consume(self, tokens: Tensor, starts: Tensor | None = None, inside: Tensor | None = None) -> Tensor:
        """See `consume` and `Pass.inside`."""
        rows, n = tokens[..., 0].numel(), tokens.shape[-1]
        successors = self.cache.shape[2]
        lengths = self._survivor_lengths().repeat_interleave(successors, 1).reshape(-1)
        starts = self.starts.repeat_interleave(successors, 1) if starts is None else starts
        starts = starts.reshape(-1)
        now = Pass(
            "chunk",
            (lengths + starts)[:, None] + self._place() + torch.arange(n, device=self.device),
            offset=self.offset,
            column=self.column,
            starts=starts,
            prompt_lengths=lengths,
            inside=inside,
            **self._read(),
        )
        logits = self._forward(tokens.to(self.device).reshape(rows, n), now)
        self.offset += n
        if self.column is not None:
            self.column += n
        return logits.view(*tokens.shape, -1)

    def consume_in_parts(
        self, tokens: Tensor, starts: Tensor | None = None, counts: Tensor | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """`consume`, as many columns at a time as suit the device: ``(first column, logits [P, S, K, m, V])``."""
        rows, n = tokens[..., 0].numel(), tokens.shape[-1]
        some = max(1, min(self.some_tokens // rows, LOGITS_BUDGET // (rows * self.next_logits.shape[-1])))
        for at in range(0, n, some):
            yield at, self.consume(tokens[..., at : at + some], starts, counts)

    def peek(self, tokens: Tensor) -> Tensor:
        """Logits after alternatives that are read and not kept (`guiders.kv.peek`)."""
        return peek(self, tokens)

    def commit(
        self, parents: Tensor, rows: Tensor, counts: Tensor, identity: bool, starts: Tensor | None = None
    ) -> None:
        """Make the chosen rows the survivors.

        Args:
            parents, rows: ``[P, S]`` where each new survivor came from (see `SegmentCache.commit`).
            counts: ``[P, S]`` tokens of this chunk that the survivor keeps in the cache.
            starts: ``[P, S]`` tokens of the parent's history that it keeps; all of them where None.
        """
        parents, rows, counts = (x.to(self.device) for x in (parents, rows, counts))
        if starts is not None and self.recurrent:
            raise GuiderError(f"{self.lm.name} has recurrent layers, which can't go back in a text; use another search")
        starts = self.starts.gather(1, parents) if starts is None else starts.to(self.device)
        self.longest += self.offset
        self.cache.commit(parents, rows, self.offset, starts, self._columns(self.longest + 1), identity)
        starts = starts + counts.clamp(max=self.offset)
        if self.starts.shape == starts.shape:
            self.starts.copy_(starts)
            self._restart()
            return
        self._restart()  # what has been computed so far was for all rows
        self.starts = starts
        self.packed.forget()
        if self._next_logits is not None:
            self._next_logits = self._next_logits[:, : starts.shape[1]].clone()

    def follow(
        self,
        parents: Tensor,
        rows: Tensor,
        counts: Tensor,
        pending: Tensor,
        identity: bool,
        starts: Tensor | None = None,
    ) -> None:
        """`commit` of a lane whose last token waits, then `advance`.

        Args:
            counts: ``[P, S]`` tokens of this chunk that the survivor keeps; pending: the last token of its response.
            starts: ``[P, S]`` tokens of the parent's history that it keeps; all of them where None.

        Raises:
            GuiderError: `starts` for a model with recurrent states.
        """
        if starts is None:
            self.commit(parents, rows, (counts - 1).clamp_min(0), identity)
            self.advance(pending)
            return
        starts, counts = starts.to(self.device), counts.to(self.device)
        # where nothing is kept of the chunk, it is a token from before that waits
        before = (starts - (counts == 0).long()).clamp_min(0)
        self.commit(parents, rows, (counts - 1).clamp_min(0), identity, before)
        self.advance(pending)
        empty = starts + counts == 0
        self.starts -= empty.long()
        self.next_logits.copy_(
            torch.where(empty[..., None].to(self.next_logits.device), self.after_prompt[:, None], self.next_logits)
        )

    def keep(self, slots: Tensor) -> None:
        """Keep only these slots."""
        slots = slots.to(self.device)
        self.cache.keep(slots)
        self.packed.forget()
        self.prompt_sizes = [self.prompt_sizes[slot] for slot in slots.tolist()]
        self.prompt_lengths, self.starts = self.prompt_lengths[slots], self.starts[slots]
        if self._next_logits is not None:
            self._next_logits, self._after_prompt = self.next_logits[slots], self.after_prompt[slots]

    def shrink(self, longest: int) -> None:
        """Lower the host-side bound of the history's length, where long responses have left."""
        if longest < self.longest:
            self.longest = longest
            self.starts.clamp_(max=longest)  # free slots go on counting, and nobody reads them

    def addresses(self) -> tuple:
        """What a captured graph of steps depends on: where tensors lie, and how many columns are read."""
        held = [
            x for layer in self.cache.segments[-1:] for p in (layer.prompt, layer.history, layer.chunk) for x in p or ()
        ]
        held += self.cache.states.tensors()
        tensors = (*held, self.starts, self.prompt_lengths, self.next_logits)
        return tuple((x.data_ptr(), x.shape) for x in tensors), tuple(self._read().values())

    def _place(self) -> int | Tensor:
        """The chunk's next column."""
        return self.offset if self.column is None else self.column

    def _restart(self) -> None:
        """A new chunk begins."""
        self._evaluated = self.evaluated - self.peeked
        self.offset = 0
        if self.column is not None:
            self.column.zero_()

    def _read(self) -> Columns:
        """Columns of the shared segments that a pass reads."""
        return {"prompt": self._columns(max(self.prompt_sizes)), "history": self._columns(self.longest)}

    def _columns(self, longest: int) -> int:
        """Columns of a segment that are read where the longest has so many tokens."""
        return -(-longest // self.block) * self.block

    def _survivor_lengths(self) -> Tensor:
        return self.prompt_lengths[:, None].expand(self.starts.shape)

    def _forward(self, tokens: Tensor, now: Pass, keep: Tensor | int = 0, kept: bool = True) -> Tensor:
        """One pass. kept: its logits may lie where those of the last pass did, and its shape comes again."""
        # rows past their limit still compute: their positions must stay inside the model's table
        positions = now.positions.clamp(max=self.lm.max_length - 1)
        with (
            attending(self.model, self.cache, now),
            self.head.used() if kept else nullcontext(),
            self.packed.used(tokens.numel()) if kept else nullcontext(),
        ):
            output = self.model(
                input_ids=tokens,
                position_ids=positions,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=keep,
            )
        return output.logits
