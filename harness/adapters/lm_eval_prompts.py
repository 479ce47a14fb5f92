"""Requests of lm-eval's tasks as prompts: the part of an lm-eval model that needs tokenizers and no weights."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lm_eval.api.model import TemplateLM

from harness.backends.protocol import Asked
from harness.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from guiders import LM


class PromptingLM(TemplateLM):
    """An lm-eval model that renders chats in the base model's template and knows which chat a rendered text was."""

    def __init__(self) -> None:
        super().__init__()
        self._chats: dict[str, list[dict[str, str]]] = {}

    @property
    @abstractmethod
    def base(self) -> "LM":
        """The base model, whose tokenizer and template are lm-eval's."""

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase | None":
        """The base's tokenizer."""
        return self.base.tokenizer

    @property
    def tokenizer_name(self) -> str:
        return self.base.tokenizer.name_or_path.replace("/", "__")

    @property
    def max_length(self) -> int:
        return self.base.max_length

    @property
    def eot_token_id(self) -> int:
        return self.base.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        tokenizer = self.base.tokenizer
        return tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Token ids; a text that already starts with the token of `prefix_token_id` gets no second one."""
        tokenizer = self.base.tokenizer
        if add_special_tokens is None:
            add_special_tokens = not string.startswith(str(tokenizer.decode(self.prefix_token_id)))
        return tokenizer.encode(string, add_special_tokens=add_special_tokens)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The chat in the base model's template; an assistant's started answer is continued.

        Raises:
            UserError: the base model's tokenizer has no chat template.
        """
        tokenizer = self.base.tokenizer
        if not tokenizer.chat_template:
            mend = "set task.apply_chat_template=false, or leave --apply_chat_template out"
            raise UserError(f"{tokenizer.name_or_path}: the base model has no chat template; {mend}")
        text = tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        assert isinstance(text, str)  # of one chat, with `tokenize=False`
        if add_generation_prompt:
            from guiders.models.prompt import Chat

            self._chats[text] = Chat(chat_history)
        return text

    def asked(self, context: str, doc: Mapping[str, Any] | None = None, field: str | None = None) -> Asked:
        """The prompt behind a request's context: the messages that it was rendered from, where it was.

        Args:
            doc: the task's document. field: what the guider's constraint reads of it; None: nothing.
        """
        document = None if doc is None or field is None else {field: doc.get(field)}
        chat = self._chats.get(context)
        if chat is None:
            return Asked(context, context, document=document)
        text = chat[0]["content"] if [one["role"] for one in chat] == ["user"] else context
        return Asked(text, chat, document=document)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        self.base  # noqa: B018  (loads the tokenizer that the parent's method reads)
        return super().chat_template(chat_template)
