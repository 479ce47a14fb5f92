"""A model under another prompt: the same weights, with a cache of its own."""

import re
from typing import Any

from guiders.errors import GuiderError
from guiders.models.lm import LM
from guiders.models.prompt import Chat, LongPrompt, Text, as_text, check_prompt, is_text

PROBE = "Answer in verse."


class Prompted(LM):
    """A view of a model that reads every prompt in other words. It shares the weights and the tokenizer, and takes a
    token guide's place for a model: context-aware decoding, guidance by a system prompt, Self-Debias.

    Token ids are read as their text. What comes out is read under the model's own template.

    Args:
        lm: the model.
        without: a regular expression; what it matches is left out of the prompt (of messages: of the user's).
        template: a text with ``{prompt}``, where the prompt goes (of messages: the last one).
        system: a system message, before the prompt's own; a text becomes the user's message.

    Raises:
        GuiderError: no ``{prompt}`` in the template, an expression that does not parse; a system message for a model
            whose chat template has no place for one.
    """

    def __init__(self, lm: LM, system: str | None = None, template: str | None = None, without: str | None = None):
        super().__init__(lambda: lm.model, lm.tokenizer, lm.template, f"{lm.name} under another prompt")
        self.limit = lm.limit
        if template is not None and "{prompt}" not in template:
            raise GuiderError(f"Prompted.template={template!r} has no place for the prompt; write {{prompt}} in it")
        try:
            self.without = None if without is None else re.compile(without)
        except re.error as error:
            raise GuiderError(f"Prompted.without={without!r} is no regular expression ({error}); mend it") from None
        self.around, self.system = template, system
        if system is not None:
            self._check_system(lm)

    def encode_prompt(self, prompt: Any) -> list[int]:
        """See `LM.encode_prompt`."""
        if isinstance(prompt, LongPrompt):  # asks again for what it holds
            return super().encode_prompt(prompt)
        check_prompt(prompt)
        text: Any = prompt if is_text(prompt) else as_text(self, prompt)
        return super().encode_prompt(self.reworded(text))

    def reworded(self, prompt: Text) -> Text:
        """The prompt as the model reads it, before its own template: a text or messages."""
        if self.system is None and isinstance(prompt, str):
            return self._around(self._cut(prompt))
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        changed = [{**m, "content": self._cut(m["content"]) if m["role"] == "user" else m["content"]} for m in messages]
        changed[-1]["content"] = self._around(changed[-1]["content"])
        if self.system is not None:
            own = [m["content"] for m in changed if m["role"] == "system"]
            rest = [m for m in changed if m["role"] != "system"]
            changed = [{"role": "system", "content": "\n\n".join((self.system, *own))}, *rest]
        return Chat(changed) if isinstance(prompt, Chat) else changed

    def _cut(self, text: str) -> str:
        return text if self.without is None else self.without.sub("", text)

    def _around(self, text: str) -> str:
        return text if self.around is None else self.around.replace("{prompt}", text)

    def _check_system(self, lm: LM) -> None:
        """A chat template may refuse a system message, or leave it out without a word."""
        mend = "give template='… {prompt}' in place of system"
        try:
            text = lm.render([{"role": "system", "content": PROBE}, {"role": "user", "content": "a"}])
        except Exception as error:  # whatever a template raises
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise GuiderError(f"{lm.name} takes no system message ({reason}); {mend}") from None
        if PROBE not in text:
            raise GuiderError(f"the chat template of {lm.name} has no system role; {mend}")
