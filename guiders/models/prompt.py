"""What a prompt may be: a text, messages, token ids; and how much of it is read."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from guiders.errors import GuiderError

if TYPE_CHECKING:
    from guiders.models.lm import LM

Text = str | Sequence[Mapping[str, str]]
"""A text, or messages ``{"role", "content"}``."""


class Chat(list):
    """Messages whose rendered text is tokenised as any text is: the tokenizer adds its start token, unless the template
    writes it. lm-eval's ``hf`` reads chats so; a plain list of messages follows transformers, which adds nothing."""


@dataclass(frozen=True)
class LongPrompt:
    """A prompt of which each model reads no more of the end than leaves `room` tokens of its context."""

    prompt: Any  # in each form that `LM.encode_prompt` takes
    room: int


def as_text(base: "LM", prompt: object) -> Text | LongPrompt:
    """The prompt as a model with another tokenizer can read it: a text or messages, without the base's start token."""
    text = whole_text(base, prompt)
    return LongPrompt(text, prompt.room) if isinstance(prompt, LongPrompt) else text


def whole_text(base: "LM", prompt: object) -> Text:
    """`as_text`, all of it, however little of a long one is read."""
    if isinstance(prompt, LongPrompt):
        prompt = prompt.prompt
    if isinstance(prompt, str):
        return prompt.removeprefix(base.tokenizer.bos_token or "")
    return cast(Text, prompt) if is_text(prompt) else base.decode(list(cast(Iterable[int], prompt)))


def is_text(prompt: object) -> bool:
    """Is this prompt a text or messages, and not token ids?"""
    if isinstance(prompt, str):
        return True
    return isinstance(prompt, Sequence) and len(prompt) > 0 and isinstance(prompt[0], dict)


def check_prompt(prompt: Any) -> None:
    """Hold a prompt to be a text, a list of messages ``{"role", "content"}`` of texts, or a list of token ids.

    Raises:
        GuiderError: it is none of these (a single message, bytes, a nested list, a list of texts, …), or a text holds
            half of a surrogate pair, which no tokenizer reads.
    """
    if isinstance(prompt, str):
        _check_text(prompt)
        return
    listed = isinstance(prompt, Sequence) and not isinstance(prompt, (bytes, bytearray, memoryview))
    if not listed and not (hasattr(prompt, "__array__") and getattr(prompt, "ndim", 1) == 1):
        raise GuiderError(f"{type(prompt).__name__} is no prompt; give a text, a list of messages, or token ids")
    if len(prompt) and isinstance(prompt[0], Mapping):
        for message in prompt:
            _check_message(message)
        return
    for item in prompt:
        try:
            operator.index(item)
        except TypeError:
            raise GuiderError(
                f"a list with {_shown(item)} in it is no prompt; give a text, a list of messages, or token ids"
            ) from None


def _check_message(message: object) -> None:
    for part in ("role", "content"):
        if not isinstance(message, Mapping) or not isinstance(message.get(part), str):
            raise GuiderError(f'the message {_shown(message)} has no text as its {part}; write {{"role", "content"}}')
        _check_text(message[part])


def _check_text(text: str) -> None:
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError as error:
        raise GuiderError(
            f"the prompt {_shown(text)} holds half of a surrogate pair at character {error.start}; mend the text"
        ) from None


def _shown(value: object) -> str:
    """A value in one line of plain ASCII, shortened."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
