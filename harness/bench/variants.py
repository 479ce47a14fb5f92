"""What is compared: plain `transformers.generate`, the naive baseline and the decoder, on the same prompts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from guiders import LM, Guider, Sampling, generate
from guiders.laws.oracle import naive_generate

UNBOUNDED = 1 << 40  # batch_tokens: all prompts are decoded together


@dataclass(frozen=True)
class Variant:
    """One way to decode, and how much it decodes.

    Attributes:
        run: decodes, and returns how many tokens its answers have.
        answer_tokens: tokens of the answers. hypothesis_tokens: of all rows.
    """

    name: str
    run: Callable[[], int]
    answer_tokens: int
    hypothesis_tokens: int


def rows_of(guider: Guider) -> int:
    """Rows of one prompt."""
    return guider.search.rows


def decoder(
    name: str, guider: Guider, prompts: Sequence[list[int]], sampling: Sampling, graphs: bool = False
) -> Variant:
    """Our decoder, all prompts at once. graphs: replay steps as CUDA graphs."""

    def run() -> int:
        given = generate(guider, prompts, sampling, batch_tokens=UNBOUNDED, graphs=graphs)
        return sum(len(g.tokens) for g in given)

    tokens = len(prompts) * sampling.max_new_tokens
    return Variant(name, run, tokens, tokens * rows_of(guider))


def naive(name: str, guider: Guider, prompts: Sequence[list[int]], sampling: Sampling) -> Variant:
    """The naive baseline: one prompt at a time, flat caches, every hypothesis scored from its first token."""

    def run() -> int:
        return sum(len(g.tokens) for g in naive_generate(guider, prompts, sampling))

    tokens = len(prompts) * sampling.max_new_tokens
    return Variant(name, run, tokens, tokens * rows_of(guider))


def plain(name: str, lm: LM, prompts: Sequence[list[int]], rows: int, sampling: Sampling, together: bool) -> Variant:
    """`transformers.generate` of the base, `rows` samples a prompt.

    together: all prompts in one left-padded batch, or one prompt at a time.
    """

    @torch.inference_mode()
    def sample(some: Sequence[list[int]]) -> int:
        longest = max(map(len, some))
        ids = torch.tensor([[0] * (longest - len(p)) + p for p in some], device=lm.device)
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in some], device=lm.device)
        model: Any = lm.model  # of transformers, with its `generate`
        given = model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=True,
            temperature=sampling.temperature,
            top_k=0,
            top_p=1.0,
            max_new_tokens=sampling.max_new_tokens,
            num_return_sequences=rows,
            pad_token_id=0,
        )
        return len(some) * (given.shape[1] - longest)

    def run() -> int:
        return sum(sample(some) for some in ([prompts] if together else [[p] for p in prompts]))

    tokens = len(prompts) * sampling.max_new_tokens
    return Variant(name, run, tokens, tokens * rows)
