"""Languages that are tables: everything about them can be enumerated."""

import itertools
import math

import torch
from tiny_models import END, VOCAB, words

from guiders import LM
from guiders.laws.tabular import TabularLM

LETTERS = (0, 1, 2, END)  # a, b, c and the end


def table(seed: int, letters=LETTERS) -> LM:
    """A language of some letters by random logits, which depend on the position and the last token."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.full((16, VOCAB, VOCAB), -1e9, dtype=torch.float64)
    logits[:, :, letters] = torch.randn(16, VOCAB, len(letters), generator=generator).double()
    return LM(TabularLM(logits, END), words(), name=f"table-{seed}")


def log_p(model: LM, prompt, tokens) -> float:
    """log p(tokens | prompt), term by term."""
    text, total = list(prompt), 0.0
    for token in tokens:
        row = model.model.table[min(len(text) - 1, 15), text[-1]].tolist()
        total += row[token] - math.log(sum(math.exp(x - max(row)) for x in row)) - max(row)
        text.append(token)
    return total


def responses(steps: int):
    """Every response of at most so many tokens: ended, or cut by the limit."""
    for n in range(1, steps + 1):
        for body in itertools.product(LETTERS[:-1], repeat=n - 1):
            yield (*body, END)
            if n == steps:
                yield from ((*body, last) for last in LETTERS[:-1])


def prompts(count: int) -> list[list[int]]:
    """Prompts that a table can't tell apart: independent draws."""
    return [[*p, 0] for p in itertools.islice(itertools.product(range(3, 20), repeat=4), count)]
