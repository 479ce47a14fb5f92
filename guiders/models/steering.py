"""A model with a direction added to the hidden states of one layer, on the weights of the plain one."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from guiders.errors import GuiderError
from guiders.kv.exclusive import exclusive
from guiders.models.lm import LM


def steered(model: LM, positive: Sequence[str], negative: Sequence[str], layer: int, weight: float) -> LM:
    """`model` with ``λ d`` added to a layer's output; d: the mean difference of that output at the texts' last tokens.

    Args:
        layer: from 1. weight: λ.

    Raises:
        GuiderError: when the weights are read: no such layer.
    """

    def weights() -> nn.Module:
        with torch.no_grad(), exclusive(model.model):
            made = WithDirection(model.model, layer, model.name)
            sides = [
                torch.stack([made.state(model.encode_prompt(text)) for text in side]) for side in (positive, negative)
            ]
            made.direction = weight * (sides[0].mean(0) - sides[1].mean(0))
        return made

    other = LM(weights, model.tokenizer, model.template, f"{model.name}, steered by {weight}")
    other.limit = model.limit
    return other


class WithDirection(nn.Module):
    """A causal LM whose forward pass adds a direction after one of its layers; the model itself stays what it is.

    Args:
        model: a transformers model. layer: from 1. name: what messages call it.

    Raises:
        GuiderError: no such layer.
    """

    def __init__(self, model: Any, layer: int, name: str):
        super().__init__()
        self.shared: Any = model
        self.direction = torch.zeros(())
        wanted = model.config.get_text_config().num_hidden_layers
        stacks = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == wanted]
        if not stacks or layer > wanted:
            raise GuiderError(f"{name} has no layer {layer}; choose one of 1 to {wanted if stacks else 0}")
        self._layer = stacks[0][layer - 1]

    @property
    def config(self) -> Any:
        return self.shared.config

    @property
    def generation_config(self) -> Any:
        return self.shared.generation_config

    def get_output_embeddings(self) -> nn.Module | None:
        found: nn.Module | None = self.shared.get_output_embeddings()
        return found

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the shared model's, with the direction."""
        hook = self._layer.register_forward_hook(self._add)
        try:
            return self.shared(*args, **kwargs)
        finally:
            hook.remove()

    def state(self, ids: list[int]) -> torch.Tensor:
        """The layer's output at the last of these tokens, undirected: ``[H]``."""
        seen = []
        hook = self._layer.register_forward_hook(lambda layer, given, out: seen.append(_hidden(out)[0, -1]))
        try:
            self.shared(input_ids=torch.tensor([ids], device=next(self.shared.parameters()).device), use_cache=False)
        finally:
            hook.remove()
        return seen[0].clone()

    def _add(self, layer: nn.Module, given: tuple, out: Any) -> Any:
        moved = _hidden(out) + self.direction.to(_hidden(out))
        return (moved, *out[1:]) if isinstance(out, tuple) else moved


def _hidden(out: Any) -> torch.Tensor:
    """Hidden states ``[rows, n, H]`` of a layer's output, a tensor or a tuple that begins with one."""
    return out[0] if isinstance(out, tuple) else out
