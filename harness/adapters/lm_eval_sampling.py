"""lm-eval's generation settings as the decoder's."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lm_eval.models.utils import normalize_gen_kwargs

from harness.adapters.lm_eval_seeds import repeat_seed
from harness.errors import UserError

if TYPE_CHECKING:
    from guiders import Sampling

# lm-eval's own limit for a request that names none
DEFAULT_MAX_NEW_TOKENS = 256
HANDLED = {"until", "max_gen_toks", "temperature", "do_sample", "top_k", "top_p", "min_p", "typical_p"}


def sampling_of(gen_kwargs: dict, ours: Mapping[str, Any], seed: int, repeat: int = 0) -> "Sampling":
    """lm-eval's generation settings as ours; what our configuration sets wins over the task's.

    Args:
        ours: temperature, top_k, top_p, min_p, typical_p, max_new_tokens (each null or left out: as the request says),
            stop, coupling, and where the random numbers have one, their purpose.
        repeat: number of the request among those for one prompt, from 0: each draws from a random stream of its own.

    Raises:
        UserError: a generation setting that the decoder does not have.
    """
    from guiders import Sampling

    unknown = set(gen_kwargs) - HANDLED - {"max_new_tokens", "max_tokens", "max_completion_tokens"}
    if unknown:
        raise UserError(
            f"gen_kwargs {sorted(unknown)[0]!r}: not a setting of this decoder; it has {', '.join(sorted(HANDLED))}"
        )
    kwargs = normalize_gen_kwargs(gen_kwargs, DEFAULT_MAX_NEW_TOKENS)
    temperature = float(kwargs.get("temperature", 0.0))
    if gen_kwargs.get("do_sample") and "temperature" not in gen_kwargs:
        temperature = 1.0
    asked = {
        "temperature": temperature,
        "top_k": int(kwargs.get("top_k") or 0),
        "top_p": float(1.0 if kwargs.get("top_p") is None else kwargs["top_p"]),
        "min_p": float(kwargs.get("min_p") or 0.0),
        "typical_p": float(1.0 if kwargs.get("typical_p") is None else kwargs["typical_p"]),
        "coupling": "inverse",
        "max_new_tokens": kwargs["max_gen_toks"],
    }
    chosen = {name: asked[name] if ours.get(name) is None else ours[name] for name in asked}
    chosen["purpose"] = ours.get("purpose", "")
    stop = dict.fromkeys([*(text for text in kwargs["until"] if text), *ours.get("stop", [])])
    return Sampling(**chosen, stop=tuple(stop), seed=repeat_seed(seed, repeat))
