"""A language small enough to enumerate, its exact prefix values, and every response of a few tokens."""

import itertools

import torch
from tiny_models import END, VOCAB, words
from torch import nn
from transformers import PretrainedConfig
from transformers.modeling_outputs import CausalLMOutputWithPast

from guiders import LM
from guiders.laws.tabular import TabularLM, optimal_logits

LETTERS = (0, 1, 2, END)
PROMPT = [5, 2, 0]


class TabularValue(nn.Module):
    """A scalar head that reads the position and the last token from a table ``[T, V]``."""

    kind = "scalar"

    def __init__(self, table: torch.Tensor):
        super().__init__()
        self.table = nn.Parameter(table, requires_grad=False)
        self.score_head = nn.Identity()
        self.config = PretrainedConfig(vocab_size=table.shape[-1], eos_token_id=END)

    def forward(self, input_ids, position_ids=None, logits_to_keep=0, **kwargs):
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1]).expand_as(input_ids)
        values = self.table[position_ids.clamp(max=len(self.table) - 1), input_ids][..., None]
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        return CausalLMOutputWithPast(logits=values[:, keep], past_key_values=kwargs.get("past_key_values"))


class TabularQ(TabularValue):
    """A head over the vocabulary that reads the position and the last token from a table ``[T, V, V]``."""

    kind = "vocab"

    def forward(self, input_ids, position_ids=None, logits_to_keep=0, **kwargs):
        out = super().forward(input_ids, position_ids, logits_to_keep, **kwargs)
        return CausalLMOutputWithPast(logits=out.logits.squeeze(-1), past_key_values=out.past_key_values)


def table(seed: int, positions: int = 16) -> torch.Tensor:
    """Random logits over `LETTERS`; the other ids never come."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.full((positions, VOCAB, VOCAB), -1e9, dtype=torch.float64)
    logits[:, :, LETTERS] = torch.randn(positions, VOCAB, len(LETTERS), generator=generator).double()
    return logits


def tabular(logits: torch.Tensor) -> LM:
    return LM(TabularLM(logits, END), words(), name="table")


def exact_value(base: torch.Tensor, beta: float, steps: int) -> tuple[LM, torch.Tensor]:
    """A random reward of position and token, the model of its soft prefix values, and the optimal policy's logits."""
    generator = torch.Generator().manual_seed(9)
    reward = torch.randn(len(base), 1, VOCAB, generator=generator).double().expand(base.shape)
    start = len(PROMPT) - 1
    optimal = optimal_logits(base, reward / beta, END, start, steps)
    soft = torch.zeros(len(base), VOCAB, dtype=torch.float64)
    soft[1:] = beta * (optimal - base.log_softmax(-1))[:-1, 0]  # of the token that comes to stand at a position
    return LM(TabularValue(soft), words(), name="soft value"), optimal


def responses(steps: int):
    """Every response of at most so many tokens: ended, or cut by the limit."""
    for n in range(1, steps + 1):
        for body in itertools.product(LETTERS[:-1], repeat=n - 1):
            yield (*body, END)
            if n == steps:
                yield from ((*body, last) for last in LETTERS[:-1])


def log_prob(logits: torch.Tensor, tokens, prompt=PROMPT) -> float:
    """log p(tokens | prompt) of a table, term by term."""
    text = [*prompt, *tokens]
    rows = logits.log_softmax(-1)
    return float(sum(rows[len(prompt) - 1 + t, text[len(prompt) - 1 + t], token] for t, token in enumerate(tokens)))
