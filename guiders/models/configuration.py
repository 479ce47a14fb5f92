"""The configuration of a model, whatever class wraps it."""

from torch import nn
from transformers import PreTrainedConfig


def text_config(model: nn.Module) -> PreTrainedConfig:
    """What transformers says of the part of a model that reads text: layers, widths, ids."""
    config = model.config
    assert isinstance(config, PreTrainedConfig)  # of a module nothing is known but that it has attributes
    return config.get_text_config()
