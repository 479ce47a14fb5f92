"""A step before decoding: every prompt in a template, whatever the method; ``prompt=NAME`` of ``conf/prompt``."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from harness.backends.protocol import Asked
from harness.errors import UserError

OVER_LENGTH = "over_length"

Scored = list[tuple[str, dict[str, float]]]


class PromptStep(BaseModel):
    """What is put around a prompt. Records, scores and judgements keep the plain one, by which they are joined."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    template: str | None = Field(None, description="a text with {prompt}; null: the prompt as it is")
    max_words: Annotated[int, Field(ge=1)] | None = Field(
        None, description="{max_words} of the template; the share of answers with more is the score over_length"
    )
    stop: Annotated[list[str], BeforeValidator(lambda value: value if isinstance(value, list) else [value])] = Field(
        [], description="texts that end an answer in this template, besides the task's own"
    )

    @model_validator(mode="after")
    def _has_its_places(self) -> "PromptStep":
        if self.template is not None and "{prompt}" not in self.template:
            raise ValueError("the template lacks {prompt}; put it where the prompt goes")
        if "{max_words}" in (self.template or "") and self.max_words is None:
            raise ValueError("the template names {max_words}; set max_words to a number")
        return self

    def text(self, prompt: str) -> str:
        """A prompt in the template."""
        if self.template is None:
            return prompt
        places = {"{prompt}": prompt, "{max_words}": str(self.max_words)}
        return "".join(places.get(part, part) for part in re.split(r"(\{prompt\}|\{max_words\})", self.template))

    def asked(self, one: Asked) -> Asked:
        """The same request with its prompt in the template; of a chat, the last message of the user."""
        if self.template is None:
            return one
        if isinstance(one.prompt, str):
            wrapped = self.text(one.prompt)
            return replace(one, prompt=wrapped, wrapped=wrapped)
        last = max((place for place, said in enumerate(one.prompt) if said["role"] == "user"), default=None)
        if last is None:
            raise UserError(f"prompt: a chat without a message of the user ({one.text[:60]!r}); set prompt=none")
        wrapped = self.text(one.prompt[last]["content"])
        chat = type(one.prompt)(one.prompt)
        chat[last] = {**chat[last], "content": wrapped}
        return replace(one, prompt=chat, wrapped=wrapped)

    def with_violations(self, scored: Scored, responses: Mapping[str, str]) -> Scored:
        """The scores with ``over_length``: 1 where a response has more than `max_words` words, else 0.

        Raises:
            UserError: the task has a score of that name.
        """
        if self.max_words is None:
            return scored
        if scored and OVER_LENGTH in scored[0][1]:
            raise UserError(f"prompt.max_words: the task has a score {OVER_LENGTH} of its own; set it to null")
        return [
            (text, {**scores, OVER_LENGTH: float(len(responses[text].split()) > self.max_words)})
            for text, scores in scored
        ]
