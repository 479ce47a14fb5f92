"""The arithmetic floor: the multiplications a method cannot avoid, at the speed of bare matrix products.

Each model reads a prompt once, and every later token once per distinct row: a token that ends a chunk is one token of
a survivor, which its K successors share. Only positions whose logits are needed pay for the vocabulary head.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from guiders import LM, Guider
from harness.bench.clocks import best

MOST_ROWS = 256  # products of more rows are measured at this many: the rate no longer changes


@dataclass(frozen=True)
class Work:
    """Forward passes of one shape.

    Attributes:
        part: "prefill", "base", "guides" or "value".
        lm: the model.
        passes: how many. rows: token positions of one pass. heads: those whose logits are needed.
        contexts: sum over all passes' positions of the tokens that each attends to.
    """

    part: str
    lm: LM
    passes: int
    rows: int
    heads: int
    contexts: int


def chunks(guider: Guider, new_tokens: int) -> list[int]:
    """Lengths of the chunks of a response, between two selections."""
    length = (guider.search.ends.most if guider.search.scores == "boundary" else None) or new_tokens
    return [min(length, new_tokens - start) for start in range(0, new_tokens, length)]


def unavoidable(guider: Guider, prompt_lengths: list[int], new_tokens: int) -> Iterator[Work]:
    """The forward passes that decoding these prompts takes, no end token drawn."""
    lanes = [("base", guider.base), *(("guides", lm) for lm in guider.models[1:])]
    for part, lm in lanes:
        yield from _prefill(lm, prompt_lengths, heads=len(prompt_lengths))
        yield from _steps(part, lm, guider, prompt_lengths, new_tokens, at_once=False, head=True)
    for read in () if guider.value is None else guider.value.reads(guider):
        # an explicit value reads one number a position off the head, an implicit one needs the normaliser
        yield from _prefill(read.lm, prompt_lengths, heads=len(prompt_lengths) if read.head else 0)
        if read.last:
            yield from _whole_chunks(read.lm, guider, prompt_lengths, new_tokens)
        else:
            yield from _steps("value", read.lm, guider, prompt_lengths, new_tokens, at_once=True, head=read.head)


def _prefill(lm: LM, lengths: list[int], heads: int) -> Iterator[Work]:
    yield Work("prefill", lm, 1, sum(lengths), heads, sum(n * (n + 1) // 2 for n in lengths))


def _steps(
    part: str, lm: LM, guider: Guider, lengths: list[int], new_tokens: int, at_once: bool, head: bool
) -> Iterator[Work]:
    """All tokens but the last of a chunk per successor, its last one once per survivor; token by token or at once."""
    prompts, (survivors, successors) = len(lengths), (guider.search.survivors, guider.search.successors)
    passes: dict[tuple[int, int], list[int]] = {}

    def add(rows: int, positions: range) -> None:
        if len(positions):
            found = passes.setdefault((rows, len(positions)), [0, 0])
            found[0] += 1
            found[1] += rows // prompts * sum(n + i + 1 for n in lengths for i in positions)

    start, sizes = 0, chunks(guider, new_tokens)
    for index, size in enumerate(sizes):
        inner = range(start, start + size - 1)
        for positions in [inner] if at_once else [range(i, i + 1) for i in inner]:
            add(prompts * survivors * successors, positions)
        start += size
        if index + 1 < len(sizes):
            add(prompts * survivors, range(start - 1, start))
    for (rows, width), (count, contexts) in passes.items():
        yield Work(part, lm, count, rows * width, rows * width if head else 0, contexts)


def _whole_chunks(lm: LM, guider: Guider, lengths: list[int], new_tokens: int) -> Iterator[Work]:
    """A scalar value stands at a row's last token: every row's whole chunk is read."""
    start, each = 0, guider.search.rows
    for size in chunks(guider, new_tokens):
        contexts = each * sum(n + i + 1 for n in lengths for i in range(start, start + size))
        yield Work("value", lm, 1, len(lengths) * each * size, 0, contexts)
        start += size


def matrices(lm: LM) -> tuple[list[torch.Tensor], torch.Tensor]:
    """A model's weight matrices ``[in, out]`` in the order of a forward pass, and its head's."""
    output, blocks = output_head(lm), []
    for module in lm.model.modules():
        if module is output:
            continue
        if isinstance(module, Conv1D):
            blocks.append(module.weight)
        elif isinstance(module, torch.nn.Linear):
            blocks.append(module.weight.t())
    return blocks, output.weight.t()


def output_head(lm: LM) -> torch.nn.Linear:
    """The layer that a model's logits or values come from."""
    model: Any = lm.model  # of transformers, or with a value head
    return model.score_head if hasattr(model, "score_head") else model.get_output_embeddings()


def attention_multiplications(lm: LM) -> int:
    """Multiplications of scores and mixing, per position and per token that it attends to."""
    config = lm.config
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return 2 * config.num_hidden_layers * heads * width


class Products:
    """Times of bare products with the models' own weights, in the order of a forward pass, outputs in place.

    Attention is counted at the rate of the same model's products.
    """

    def __init__(self, device: torch.device, clock: str):
        self.device, self.clock = device, clock
        self._seconds: dict[tuple[int, int, bool], float] = {}

    def renew(self) -> None:
        """Forget what was measured: a new round."""
        self._seconds.clear()

    def seconds(self, work: Work) -> float:
        """The floor of this work."""
        blocks = self._measured(work.lm, work.rows, head=False)
        head = self._measured(work.lm, work.heads, head=True) if work.heads else 0.0
        rate = work.rows * sum(m.numel() for m in matrices(work.lm)[0]) / blocks
        return work.passes * (blocks + head) + work.contexts * attention_multiplications(work.lm) / rate

    @torch.inference_mode()
    def _measured(self, lm: LM, rows: int, head: bool) -> float:
        some = min(rows, MOST_ROWS)
        key = (id(lm), some, head)
        if key not in self._seconds:
            weights = [matrices(lm)[1]] if head else matrices(lm)[0]
            inputs = {m.shape[0]: m.new_ones(some, m.shape[0]) for m in weights}
            outputs = {m.shape[1]: m.new_empty(some, m.shape[1]) for m in weights}

            def products() -> None:
                for m in weights:
                    torch.mm(inputs[m.shape[0]], m, out=outputs[m.shape[1]])

            self._seconds[key] = best(products, self.device, self.clock)
        return self._seconds[key] * rows / some


def multiplications(work: Work) -> int:
    """Multiplications of this work."""
    blocks, head = matrices(work.lm)
    products = work.rows * sum(m.numel() for m in blocks) + work.heads * head.numel()
    return work.passes * products + work.contexts * attention_multiplications(work.lm)
