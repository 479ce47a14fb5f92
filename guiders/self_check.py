"""Can this model be cached in segments? Asked of every model once, before it writes a word."""

import torch

from guiders.errors import GuiderError
from guiders.lane import Lane
from guiders.lm import LM

KINDS = {"full_attention", "sliding_attention"}


@torch.inference_mode()
def check_cacheable(lm: LM) -> None:
    """Compare the segmented cache with the model's own forward pass without a cache, on six tokens.

    An architecture that leaves transformers' attention interface aside (a state-space model, an attention of its own)
    would not fail under a cache that it does not know: it would write wrong text.

    Raises:
        GuiderError: the logits differ, or the forward pass fails.
    """
    if lm.checked:
        return
    mend = "choose a decoder-only model that has transformers' attention interface"
    others = set(getattr(lm.config, "layer_types", None) or ()) - KINDS
    if others:
        raise GuiderError(f"{lm.name} has layers of {sorted(others)[0]!r}, which can't be cached in segments; {mend}")
    tokens = [(7 * i + 3) % lm.config.vocab_size for i in range(6)]
    try:
        expected = lm.model(input_ids=torch.tensor([tokens], device=lm.device), use_cache=False).logits[0, 2:]
        found = _segmented(lm, tokens)
    except (GuiderError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise GuiderError(f"{lm.name} can't be cached in segments ({reason}); {mend}") from error
    if not bool(expected.isfinite().any(-1).all()) or bool(expected.isnan().any()):
        raise GuiderError(f"the logits of {lm.name} are not numbers; use another dtype, or look at its weights")
    # masked ids are masked in both
    expected, found = (x.nan_to_num(neginf=0.0) for x in (expected, found))
    # rounding only: half precision and 8 bits keep two digits, and logits below 1 are compared as if they were 1
    whole = getattr(lm.model, "backbone", lm.model)
    exact = expected.dtype in (torch.float32, torch.float64) and not getattr(whole, "is_quantized", False)
    near = 1e-3 if exact else 0.1
    expected, found = expected.double(), found.double()
    if not bool(((expected - found).abs() <= near * (1 + expected.abs().max())).all()):
        raise GuiderError(f"{lm.name} gives other logits under a segmented cache than without one; {mend}")
    lm.checked = True


def _segmented(lm: LM, tokens: list[int]) -> torch.Tensor:
    """Logits after the third and every later token, which pass through all three segments: ``[4, V]``."""
    lane = Lane(lm, 1, 1, 1, 1)
    zero = torch.zeros(1, 1, dtype=torch.long, device=lm.device)
    given = [torch.full((1, 1, 1), token, device=lm.device) for token in tokens]
    logits = [lane.prefill([0], [tokens[:3]])[0], lane.step(given[3]).flatten().clone()]
    lane.commit(zero, zero, zero + 1, False)
    lane.advance(given[4][..., 0])
    logits += [lane.next_logits.flatten(), lane.step(given[5]).flatten()]
    return torch.stack(logits)
