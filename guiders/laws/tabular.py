"""A language model that is a table: small enough that everything about it can be enumerated."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.modeling_outputs import CausalLMOutputWithPast


class TabularLM(nn.Module):
    """The next token depends on the position and the last token alone, by a table of logits.

    Args:
        table: ``[T, V, V]`` logits after token `v` at position `t`; positions past the table read its last entry.
        end: the id that ends a response.
    """

    def __init__(self, table: torch.Tensor, end: int):
        super().__init__()
        self.table = nn.Parameter(table, requires_grad=False)
        self.config = PreTrainedConfig.from_dict({"vocab_size": table.shape[-1], "eos_token_id": end})

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        past_key_values: Any = None,
        **kwargs: object,
    ) -> CausalLMOutputWithPast:
        """input_ids: ``[rows, n]``. A cache is not needed, and left alone."""
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
        logits = self.table[position_ids.clamp(max=len(self.table) - 1), input_ids]
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        return CausalLMOutputWithPast(logits=logits[:, keep], past_key_values=past_key_values)


def optimal_logits(table: torch.Tensor, reward: torch.Tensor, end: int, start: int, steps: int) -> torch.Tensor:
    """Logits of the policy that maximises ``E[Σ_t reward] − KL(policy ‖ table's)`` over responses of `steps` tokens.

    The soft Bellman recursion, ``Q(t, v, u) = reward(t, v, u) + V(t+1, u)`` with ``V = logsumexp(log π + Q)``: the
    optimal policy of a whole response is ``π(y) exp(r(y)) / Z`` (Levine 2018; Rafailov et al. 2023, eq. 4).

    Args:
        table, reward: ``[T, V, V]``. start: the position of the prompt's last token.
    """
    guided, log_probs = table.clone(), table.log_softmax(-1)
    after = table.new_zeros(table.shape[-1])
    for position in range(start + steps - 1, start - 1, -1):
        future = after.clone()
        future[end] = 0.0
        guided[position] = log_probs[position] + reward[position] + future
        after = guided[position].logsumexp(-1)
    return guided
