"""Can this model be cached in segments? Asked of every model once, before it writes a word."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from guiders.errors import GuiderError
from guiders.kv.exclusive import exclusive
from guiders.kv.lane import Lane
from guiders.models.lm import LM

MEND = "choose a decoder-only model that has transformers' attention interface"
# Numbers of tokens beyond which an architecture computes something else, by the names that transformers gives them
REACHES = re.compile(r"window|attention_chunk|local_attention|floor|extent|max_distance|index_topk|index.*block|budget")
SHORT = 4  # what they are set to, so that a short text goes beyond them
# Two texts of unlike lengths: the prompts end at 3 and at 7 tokens, and each pass after them reads one more
PROMPTS, LATER = (3, 7), 5


@torch.inference_mode()
def check_cacheable(lm: LM) -> None:
    """Compare the segmented cache with the model's own forward pass without a cache, on two texts of a few tokens.

    An architecture that leaves transformers' attention interface aside (a state-space model, an attention of its own)
    would not fail under a cache that it does not know: it would write wrong text. Nor would one whose window or whose
    scaling by position only long texts reach: the comparison is made once more with all such numbers set to a few
    tokens.

    Raises:
        GuiderError: the logits differ, or the forward pass fails.
    """
    if lm.checked:
        return
    with exclusive(lm.model):  # all of it: meanwhile the model is shortened
        if lm.checked:
            return
        _check_positions(lm)
        _compare(lm, "")
        with shortened(lm.model) as names:
            if names:
                _compare(lm, f" beyond its {' and '.join(sorted(names))}")
        lm.checked = True


@contextmanager
def shortened(model: torch.nn.Module) -> Iterator[set[str]]:
    """Inside, every number of `REACHES` above `SHORT` is `SHORT`, wherever the model stores it; gives their names."""
    before = []
    for module in model.modules():
        for holder in {id(x): x for x in (module, getattr(module, "config", None)) if x is not None}.values():
            for name, number in list(vars(holder).items()):
                if type(number) is int and number > SHORT and REACHES.search(name):
                    before.append((holder, name, number))
                    vars(holder)[name] = SHORT  # not by setattr: some configurations refuse new values
    try:
        yield {name for _, name, _ in before}
    finally:
        for holder, name, number in before:
            vars(holder)[name] = number


def _check_positions(lm: LM) -> None:
    """Angles that depend on the longest text of a pass are no function of a position; `LM.max_length` ends such a
    model's context before they begin to, where one rule serves all layers."""
    rules = (getattr(lm.config, "rope_parameters", None) or {}).values()
    kinds = {rule.get("rope_type") for rule in rules if isinstance(rule, dict)} & {"longrope", "dynamic"}
    if kinds:
        raise GuiderError(f"{lm.name} has {kinds.pop()!r} positions in some of its layers only; {MEND}")


def _compare(lm: LM, where: str) -> None:
    vocabulary = lm.config.vocab_size
    texts = [[(7 * i + 3 + start) % vocabulary for i in range(start + LATER)] for start in PROMPTS]
    try:
        expected = torch.cat(
            [
                lm.model(input_ids=torch.tensor([text], device=lm.device), use_cache=False).logits[0, start - 1 :]
                for text, start in zip(texts, PROMPTS, strict=True)
            ]
        )
        found = _segmented(lm, texts)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise GuiderError(f"{lm.name} can't be cached in segments{where} ({reason}); {MEND}") from error
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
        raise GuiderError(f"{lm.name} gives other logits under a segmented cache than without one{where}; {MEND}")


def _segmented(lm: LM, texts: list[list[int]]) -> torch.Tensor:
    """Logits after each prompt and every later token, one text after the other, which pass through all three segments
    (``[2 * (1 + LATER), V]``): two steps, a boundary, a survivor's token, and two tokens at once."""
    lane = Lane(lm, len(texts), 1, 1, 2)
    zero = torch.zeros(len(texts), 1, dtype=torch.long, device=lm.device)
    later = torch.tensor([text[start:] for text, start in zip(texts, PROMPTS, strict=True)], device=lm.device)
    later = later[:, None, None]  # [P, S, K, LATER]
    logits = [lane.prefill(range(len(texts)), [text[:start] for text, start in zip(texts, PROMPTS, strict=True)])]
    logits += [lane.step(later[..., t]).flatten(0, 2).clone() for t in (0, 1)]
    lane.commit(zero, zero, zero + 2, False)
    lane.advance(later[..., 0, 2])
    logits.append(lane.next_logits.flatten(0, 1).clone())
    return torch.cat([torch.stack(logits, 1), lane.consume(later[..., 3:]).flatten(0, 2)], 1).flatten(0, 1)
