"""The configuration of a model, whatever class wraps it."""

from torch import nn
from transformers import PreTrainedConfig


def text_config(model: nn.Module) -> PreTrainedConfig:
    """What transformers says of the part of a model that reads text: layers, widths, ids."""
    config = model.config
    assert isinstance(config, PreTrainedConfig)  # of a module nothing is known but that it has attributes
    return config.get_text_config()


def context_length(config: PreTrainedConfig, length: int) -> int:
    """Tokens that prompt and response may have together: `length`, or fewer where the model has fewer."""
    for name in ("n_positions", "max_position_embeddings", "n_ctx"):
        if getattr(config, name, None):
            length = min(length, int(getattr(config, name)))
            break
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") in ("longrope", "dynamic"):
        # beyond its original length such a model turns all positions of a pass by the longest text among them
        original = rope.get("original_max_position_embeddings") or getattr(
            config, "original_max_position_embeddings", None
        )
        length = min(length, int(original or length))
    return length
