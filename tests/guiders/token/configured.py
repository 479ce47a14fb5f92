"""The methods of conf/guider, put together with tiny models; and a model's own word on a text."""

from collections.abc import Mapping, Sequence

import torch
from omegaconf import OmegaConf
from tiny_models import lm, value

from guiders import LM, Guider
from harness.methods.method import method
from harness.models.assemble import assemble

MODELS = {
    "base": lm("gpt2", 0),
    "tuned": lm("llama", 3),
    "untuned": lm("gpt2", 4),
    "value": value("gpt2", "scalar"),
}


def configured(name: str, models: Mapping[str, object] = MODELS, **grid: object) -> Guider:
    """A method's guider, by its file; `grid` has the values of its axes."""
    roles = {role: {"path": role} for role in models}
    whole = OmegaConf.create({"guider": method(name).config, "grid": grid, "model": roles})
    config = OmegaConf.to_container(whole, resolve=True)["guider"]
    return assemble(config, lambda spec, place: models[spec["path"]])


@torch.inference_mode()
def log_probs(model: LM, prompt: object, tokens: Sequence[int]) -> torch.Tensor:
    """``[n, V]`` before each of the tokens: one forward pass over the whole text, without a cache."""
    ids = model.encode_prompt(prompt)
    return model.model(torch.tensor([[*ids, *tokens]])).logits[0, len(ids) - 1 : -1].log_softmax(-1)
