"""Which kind a model is: of language, whose logits are over tokens, or of values."""

from guiders.errors import GuiderError
from guiders.models.lm import LM


def check_language_model(lm: LM) -> None:
    """Raises GuiderError where a language model belongs, and a value model is given. Reads the weights."""
    if hasattr(lm.model, "score_head"):
        raise GuiderError(f"{lm.name} is a value model; its place here is a language model's")


def check_value_model(lm: LM) -> None:
    """Raises GuiderError where a value model belongs, and a language model is given. Reads the weights."""
    if not hasattr(lm.model, "score_head"):
        raise GuiderError(f'{lm.name} has no value head; load a value model, with head="value"')
