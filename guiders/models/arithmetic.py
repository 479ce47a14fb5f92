"""A model whose weights are another's plus what tuning changed in a third."""

import copy

import torch

from guiders.errors import GuiderError
from guiders.kv.exclusive import exclusive
from guiders.models.lm import LM


def added(model: LM, tuned: LM, untuned: LM, weight: float) -> LM:
    """A new model of the weights ``θ + λ (θ⁺ − θ⁻)``, with the tokenizer and the template of `model`.

    All are read, and the new one is made, when it is first needed. Sums are made in float32 or wider.

    Raises:
        GuiderError: then, where the three do not have the same weights in the same shapes, or some are quantised.
    """

    def weights() -> torch.nn.Module:
        with exclusive(model.model):  # copied as it is between two passes
            made = copy.deepcopy(model.model)
        parts = [dict(one.model.named_parameters()) for one in (tuned, untuned)]
        for name, parameter in made.named_parameters():
            for one, found in zip((tuned, untuned), parts, strict=True):
                _check(model, one, name, parameter, found.get(name))
            wide = torch.promote_types(parameter.dtype, torch.float32)
            plus, minus = (found[name].to(parameter.device, wide) for found in parts)
            parameter.data = (parameter.data.to(wide) + weight * (plus - minus)).to(parameter.dtype)
        return made

    with_weights = LM(weights, model.tokenizer, model.template, f"{model.name} + {weight}·task")
    with_weights.limit = model.limit
    return with_weights


def _check(model: LM, other: LM, name: str, ours: torch.Tensor, theirs: torch.Tensor | None) -> None:
    if not ours.is_floating_point():
        raise GuiderError(f"{model.name}: {name} is quantised; task arithmetic needs weights that can be added")
    if theirs is None or theirs.shape != ours.shape:
        shape = "no such weight" if theirs is None else list(theirs.shape)
        raise GuiderError(
            f"{other.name}: {name} is {shape}, and {list(ours.shape)} in {model.name}; task arithmetic needs three "
            "models of one architecture"
        )
