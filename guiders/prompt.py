"""What a prompt may be: a text, messages, token ids; and how much of it is read."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guiders.lm import LM


class Chat(list):
    """Messages whose rendered text is tokenised as any text is: the tokenizer adds its start token, unless the template
    writes it. lm-eval's ``hf`` reads chats so; a plain list of messages follows transformers, which adds nothing."""


@dataclass(frozen=True)
class LongPrompt:
    """A prompt of which each model reads no more of the end than leaves `room` tokens of its context."""

    prompt: object
    room: int


def as_text(base: "LM", prompt):
    """The prompt as a model with another tokenizer can read it: a text or messages, without the base's start token."""
    if isinstance(prompt, LongPrompt):
        return LongPrompt(as_text(base, prompt.prompt), prompt.room)
    if not is_text(prompt):
        return base.decode(list(prompt))
    return prompt.removeprefix(base.tokenizer.bos_token or "") if isinstance(prompt, str) else prompt


def is_text(prompt) -> bool:
    """Is this prompt a text or messages, and not token ids?"""
    return isinstance(prompt, str) or (len(prompt) > 0 and isinstance(prompt[0], dict))
