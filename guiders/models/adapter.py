"""A tuned and an untuned model on one set of weights: the base with its low-rank adapter on, and off."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput, cached_file

from guiders.errors import GuiderError
from guiders.kv.exclusive import exclusive
from guiders.models.damaged import naming_damaged_weights

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def adapter_base(path: str, revision: str | None = None) -> str | None:
    """The path or hub name of the model that an adapter was trained on; None where `path` holds no adapter.

    A path relative to the adapter's own folder is taken from there, so that the two can be moved together.
    """
    local = Path(path).expanduser()
    file = (
        local / CONFIG
        if local.is_dir()
        else cached_file(
            path,
            CONFIG,
            revision=revision,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_connection_errors=False,
        )
    )
    if file is None or not Path(file).is_file():
        return None
    named = json.loads(Path(file).read_text(encoding="utf-8"))["base_model_name_or_path"]
    beside = local / named
    return str(beside.resolve()) if local.is_dir() and beside.is_dir() else named


class Adapted(torch.nn.Module):
    """A causal LM whose forward pass runs with one adapter on, and leaves it off.

    The layers of the model that it is given are wrapped in place (PEFT's injection); with the adapter off they compute
    what they did before, to the bit.

    Args:
        model: a transformers model; may already carry other adapters.
        path: the adapter's folder or hub name.
    """

    def __init__(self, model: torch.nn.Module, path: str):
        super().__init__()
        assert isinstance(model, PreTrainedModel)  # what loads adapters
        self.shared = model
        self._adapter = f"adapter_{len(getattr(model, 'peft_config', {}))}"
        if cached_file(path, WEIGHTS, _raise_exceptions_for_missing_entries=False) is None:
            raise GuiderError(f"{path}: no {WEIGHTS} there; save the adapter with save_pretrained")
        with naming_damaged_weights(path), exclusive(model):
            try:
                model.load_adapter(str(path), adapter_name=self._adapter)
            except (OSError, ValueError, RuntimeError) as error:
                if getattr(error, "errno", None):  # the operating system's own
                    raise
                why = str(error).strip().splitlines()[0]
                raise GuiderError(
                    f"{path}: the adapter can't be put on its base ({why}); is it this base's?"
                ) from error
        self._layers: list[Any] = [layer for layer in model.modules() if hasattr(layer, "base_layer")]  # PEFT's
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        self._switch(False)

    @property
    def config(self) -> PreTrainedConfig:
        return self.shared.config

    @property
    def generation_config(self) -> GenerationConfig | None:
        return self.shared.generation_config

    def get_output_embeddings(self) -> torch.nn.Module | None:
        return self.shared.get_output_embeddings()

    def forward(self, *args: object, **kwargs: object) -> ModelOutput:
        """As the shared model's, with the adapter on."""
        self._switch(True)
        try:
            return self.shared(*args, **kwargs)
        finally:
            self._switch(False)

    def _switch(self, on: bool) -> None:
        for layer in self._layers:
            if on:
                layer.set_adapter(self._adapter, inference_mode=True)
            layer.enable_adapters(on)


def weight_bytes(models: Iterable[torch.nn.Module]) -> int:
    """Bytes of the weights that some models hold in memory; weights that they share count once."""
    seen = {}
    for model in models:
        for tensor in (*model.parameters(), *model.buffers()):
            seen[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
    return sum(seen.values())
