"""lm-eval's ``--model_args`` as overrides of the sweep's configuration."""

from typing import Any

# the decoder fills its batches by itself
NOT_OURS = {"batch_size", "max_batch_size"}
# what lm-eval's command line passes where no device is named
LM_EVALS_DEVICE = "cuda:0"


def overrides(arguments: dict[str, Any]) -> list[str]:
    """Model arguments as ``key=value`` in Hydra's grammar; lm-eval's default device only where there is one."""
    if arguments.get("device") == LM_EVALS_DEVICE:
        arguments = {**arguments, "device": _device()}
    return [f"{name}={_override(value)}" for name, value in arguments.items() if name not in NOT_OURS]


def _device() -> str:
    """lm-eval's default device where there is one, else the processor, as lm-eval's own models do."""
    import torch

    return LM_EVALS_DEVICE if torch.cuda.is_available() else "cpu"


def _override(value: Any) -> str:
    """A value of lm-eval's ``model_args`` in Hydra's grammar."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_override(item) for item in value) + "]"
    if isinstance(value, int | float):
        return str(value)
    escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
