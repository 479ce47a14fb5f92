"""The slow formula of a value: whole texts, read without any cache, as they would be given to a model by hand.

It shares nothing with the scorers, which it is there to check.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from guiders.kv.exclusive import exclusive
from guiders.models.lm import LM
from guiders.models.prompt import as_text
from guiders.models.vocab import first_difference

if TYPE_CHECKING:
    from guiders.guider import Guider


def shown(base: LM, tokens: Sequence[int], stop: Sequence[str]) -> str:
    """A response as its reader sees it: cut before stop strings, without a last character that is not all there."""
    text = base.decode(list(tokens))
    for one in stop:
        text = text.partition(one)[0]
    return text.rstrip("\ufffd")


@torch.inference_mode()
def whole_texts(
    lm: LM,
    guider: "Guider",
    prompt: object,
    responses: Sequence[Sequence[int]],
    ended: Sequence[bool],
    stop: Sequence[str] = (),
    by_text: bool | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
    """Every response after its prompt, as this model reads it: the model's output ``[n, ·]`` at every token, the ids
    ``[n]``, and the place of the response's first one.

    Args:
        responses: token ids of the base, an end token included. ended: did each end, or was it cut?
        by_text: in the model's own tokens; None: where its tokenizer is not the base's. A text that is too long for
            the model then loses its beginning.
    """
    base, start = guider.base, lm.encode_prompt(prompt)
    texts = [(start + list(response), len(start)) for response in responses]
    if by_text or (by_text is None and first_difference(base.tokenizer, lm.tokenizer)):
        asked: Any = as_text(base, prompt)
        start = lm.encode_prompt(asked)
        before = lm.render(getattr(asked, "prompt", asked))
        texts = []
        for response, over in zip(responses, ended, strict=True):
            end = lm.tokenizer.eos_token_id
            own = _following(lm, before, shown(base, response, stop)) + [end] * bool(over and end is not None)
            ids = (start + own)[-lm.max_length :]
            texts.append((ids, max(1, len(ids) - len(own))))
    longest = max(len(ids) for ids, _ in texts)
    # causal models don't see what comes after: padding on the right needs no mask
    batch = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in texts], device=lm.device)
    with exclusive(lm.model):
        outputs = lm.model(input_ids=batch, use_cache=False).logits
    for output, row, (ids, first) in zip(outputs, batch, texts, strict=True):
        yield output[: len(ids)], row[: len(ids)], first


def summed(logits: torch.Tensor, ids: torch.Tensor, first: int) -> float:
    """The log-probability of a text's tokens ``[n]`` from `first` on, from the logits ``[n, V]`` at each."""
    wide = logits[first - 1 : -1].to(torch.promote_types(logits.dtype, torch.float32))
    return float(wide.log_softmax(-1).gather(-1, ids[first:, None]).sum())


def _following(lm: LM, prompt: str, text: str) -> list[int]:
    """The text's tokens where it follows the prompt, or a line break where a token would reach into the prompt."""
    for before in (prompt, "\n", ""):
        first, both = (lm.tokenizer(one, add_special_tokens=False)["input_ids"] for one in (before, before + text))
        if both[: len(first)] == first:
            return both[len(first) :]
    raise AssertionError("every list of tokens begins with none")
