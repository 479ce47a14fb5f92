"""How much of a prompt is read, and how long its response may be: every model's context has an end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from guiders.errors import GuiderError
from guiders.guider import Guider
from guiders.models.prompt import LongPrompt, as_text
from guiders.sampling import Sampling

ON_LONG_PROMPT = ("error", "truncate")


class PromptsTooLong(GuiderError):
    """Prompts that leave no room for a response.

    Attributes:
        found: (model's name, tokens of its context) -> what a prompt is called -> its tokens.
    """

    def __init__(self, found: dict[tuple[str, int], dict[str, int]]):
        self.found = found
        said = [
            f"{', '.join(f'{called} has {tokens} tokens' for called, tokens in prompts.items())} and {name} a context "
            f"of {context}"
            for (name, context), prompts in found.items()
        ]
        super().__init__("; ".join([*said, "shorten the prompt, or set on_long_prompt=truncate"]))


@dataclass(frozen=True)
class Fitted:
    """A prompt that fits.

    Attributes:
        prompt: what every model reads, in its own tokens; ids: the base's.
        limit: tokens that the response may have.
        truncated: tokens of the prompt's beginning that are not read; of several models, the most.
    """

    prompt: Any
    ids: list[int]
    limit: int
    truncated: int = 0


def fitted(
    guider: Guider,
    prompts: Sequence,
    sampling: Sampling,
    on_long_prompt: str = "error",
    called: Sequence[str] | None = None,
) -> list[Fitted]:
    """Every prompt, with what it leaves of all models' contexts.

    Args:
        on_long_prompt: "error": a prompt must leave room for a token, and the response may be shorter than its limit;
            "truncate": the prompt loses its beginning, so that a response of the limit fits, as lm-eval's ``hf`` does
            (`lm_eval.models.huggingface.HFLM.generate_until`).
        called: what errors call each prompt; None: by its place.

    Raises:
        PromptsTooLong: all prompts that are too long, named together.
        GuiderError: under "truncate", a limit that leaves a model no room for any prompt.
    """
    if on_long_prompt not in ON_LONG_PROMPT:
        raise GuiderError(f"on_long_prompt={on_long_prompt!r} is unknown; choose one of {', '.join(ON_LONG_PROMPT)}")
    truncate = on_long_prompt == "truncate"
    spare = int(guider.search.scores_cut_with_end)
    room = sampling.max_new_tokens + spare
    for lm in (*guider.readers, *guider.retokenising):
        if truncate and room >= lm.max_length:
            raise GuiderError(
                f"max_new_tokens={sampling.max_new_tokens} (max_gen_toks) leaves no room for a prompt: {lm.name} has a "
                f"context of {lm.max_length} tokens; lower it"
            )
    found: list[Fitted] = []
    too_long: dict[tuple[str, int], dict[str, int]] = {}
    for index, prompt in enumerate(prompts):
        ids = guider.base.encode_prompt(prompt)
        text = as_text(guider.base, prompt) if guider.retokenising else None
        sizes = {lm: len(ids if lm is guider.base else lm.encode_prompt(prompt)) for lm in guider.readers}
        left = {lm: lm.max_length - spare - size for lm, size in sizes.items()}
        limit = min(sampling.max_new_tokens, *left.values())
        left |= {lm: lm.max_length - spare - len(lm.encode_prompt(text)) for lm in guider.retokenising}
        short = sampling.max_new_tokens - min(left.values())
        if truncate and short > 0:
            prompt, limit = LongPrompt(prompt, room), sampling.max_new_tokens
            ids = guider.base.encode_prompt(prompt)
        found.append(Fitted(prompt, ids, limit, short if truncate and short > 0 else 0))
        for lm in (lm for lm in left if left[lm] < 1 and not truncate):
            name = f"prompt {index}" if called is None else called[index]
            too_long.setdefault((lm.name, lm.max_length), {})[name] = lm.max_length - spare - left[lm]
    if too_long:
        raise PromptsTooLong(too_long)
    return found
