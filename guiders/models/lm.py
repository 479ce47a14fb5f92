"""A language model as a guider sees it: weights loaded when first needed, a tokenizer, a prompt template."""

import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.utils.quantization_config import QuantizationConfigMixin

from guiders.cpu.gelu import fuse_activations
from guiders.errors import GuiderError
from guiders.models.adapter import Adapted, adapter_base
from guiders.models.configuration import context_length, text_config
from guiders.models.damaged import naming_damaged_weights
from guiders.models.prompt import Chat, LongPrompt, Text, check_prompt, is_text

_loading = threading.RLock()  # one for all: a model may be loaded on another one's weights


class LM:
    """A causal language model, or a value model on a causal backbone, with its tokenizer and its prompt template.

    `LM.load` reads the configuration and the tokenizer only; the weights are read when first needed, so that
    vocabularies are compared before gigabytes are.

    Args:
        model: a transformers causal LM or a `guiders.models.value_model.ValueModel` (or a function that gives one). Its
            activations are replaced by faster ones of the same function (`guiders.cpu.gelu`).
        tokenizer: its tokenizer.
        template: how a prompt becomes the model's input. None: a text is taken as it is, messages go through the
            tokenizer's chat template. "chat": a text is a single user message. A string with ``{prompt}``: the text
            goes there. A Jinja chat template (with ``{%`` or ``{{``): used in place of the tokenizer's.
        name: what messages call it.
    """

    def __init__(
        self,
        model: torch.nn.Module | Callable[[], torch.nn.Module],
        tokenizer: PreTrainedTokenizerBase,
        template: str | None = None,
        name: str = "model",
    ):
        self._model = model
        self.tokenizer = tokenizer
        self.template = template
        self.name = name
        self.limit: int | None = None  # of prompt and response, where it is less than the model's own
        self._config: PreTrainedConfig | None = None  # as it was read before the weights
        self._dtype: torch.dtype | None = None
        self.checked = False  # its cache against its own forward pass, see guiders.kv.self_check

    @classmethod
    def load(
        cls,
        path: str,
        *,
        head: str = "lm",
        revision: str | None = None,
        dtype: str | torch.dtype = "float32",
        device: str = "cpu",
        device_map: str | dict | None = None,
        template: str | None = None,
        trust_remote_code: bool = False,
        quantization_config: Mapping[str, object] | QuantizationConfigMixin | None = None,
        max_length: int | None = None,
    ) -> "LM":
        """Load from a folder or a hub name; safetensors only. An adapter is loaded on the base that it names.

        Args:
            head: "lm" for a causal LM, "value" for a value model.
            max_length: of prompt and response together, in tokens; None: as many as the model has.
            device_map: passed to transformers ("auto" spreads a model over several GPUs); else all of it goes to
                `device`.

        Raises:
            GuiderError: no such model, no tokenizer, unknown dtype.
        """
        if head not in ("lm", "value"):
            raise GuiderError(f"head={head!r}: 'lm' or 'value'")
        torch_dtype = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
        if not isinstance(torch_dtype, torch.dtype):
            raise GuiderError(f"dtype={dtype!r} is not a torch dtype; use float32, bfloat16, float16 or float64")
        options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
        path = str(path)
        if not Path(path).is_dir() and (path.startswith((".", "/", "~")) or path.count("/") > 1):
            raise GuiderError(f"model {path}: no such folder; give a folder with config.json or a hub name")
        if head == "lm" and (on := adapter_base(path, revision)) is not None:
            shared = cls.load(
                on,
                dtype=dtype,
                trust_remote_code=trust_remote_code,
                device=device,
                device_map=device_map,
                quantization_config=quantization_config,
                max_length=max_length,
            )
            return shared.adapted(path, template)
        try:
            config = AutoConfig.from_pretrained(path, **options)
            tokenizer = AutoTokenizer.from_pretrained(path, **options)
        except (OSError, ValueError, KeyError) as error:
            if getattr(error, "errno", None):  # the operating system's own: the file is there and can't be read
                raise
            reason = str(error).strip().splitlines()[0]
            raise GuiderError(
                f"model {path}: can't be loaded ({reason}); give a folder with config.json or a hub name"
            ) from error

        def weights() -> torch.nn.Module:
            if head == "value":
                from guiders.models.value_model import ValueModel

                return ValueModel.load(
                    path,
                    dtype=torch_dtype,
                    device=device,
                    device_map=device_map,
                    quantization_config=quantization_config,
                    **options,
                )
            try:
                with naming_damaged_weights(path, revision):
                    model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(
                        path,
                        dtype=torch_dtype,
                        use_safetensors=True,
                        device_map=device_map,
                        quantization_config=quantization_config,
                        **options,
                    )
            except OSError as error:
                if error.errno:
                    raise
                reason = str(error).strip().splitlines()[0]
                raise GuiderError(
                    f"model {path}: no safetensors weights ({reason}); convert it with save_pretrained"
                ) from error
            return (model if device_map or quantization_config else model.to(device)).eval()

        loaded = cls(weights, tokenizer, template=template, name=path)
        loaded.limit, loaded._config, loaded._dtype = max_length, config, torch_dtype
        return loaded

    def with_template(self, template: str | None) -> "LM":
        """The same weights under another prompt template."""
        other = LM(lambda: self.model, self.tokenizer, template, self.name)
        other.limit, other._config, other._dtype = self.limit, self._config, self._dtype
        return other

    def adapted(self, path: str, template: str | None = None) -> "LM":
        """The model that an adapter makes of this one, on the same weights; this one stays what it was.

        Both are read when first needed: the base's weights once, and the adapter's, some percent of them.

        Args:
            path: a folder or hub name with ``adapter_config.json`` and ``adapter_model.safetensors``.

        Raises:
            GuiderError: when the weights are read: the adapter does not fit this model.
        """
        other = LM(lambda: Adapted(self.model, path), self.tokenizer, template, str(path))
        other.limit, other._config, other._dtype = self.limit, self._config, self._dtype
        return other

    @cached_property
    def model(self) -> torch.nn.Module:
        """The weights, loaded on first use, in evaluation mode."""
        with _loading:
            if "model" in vars(self):  # another thread has read them meanwhile
                return vars(self)["model"]
            with torch.inference_mode(False):  # weights that are first read while decoding can be trained later
                model = self._model if isinstance(self._model, torch.nn.Module) else self._model()
            # kept before the lock is free, so that no other thread reads them again
            return vars(self).setdefault("model", fuse_activations(model).eval())

    @property
    def is_loaded(self) -> bool:
        """Are the weights in memory?"""
        return "model" in vars(self) or isinstance(self._model, torch.nn.Module)

    @property
    def config(self) -> PreTrainedConfig:
        """Of the text model: as it was read, until the weights are there."""
        return text_config(self.model) if self.is_loaded or not self._config else self._config.get_text_config()

    @property
    def dtype(self) -> torch.dtype:
        """The type that the model computes in."""
        return self._dtype or next(x.dtype for x in self.model.parameters() if x.is_floating_point())

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @cached_property
    def max_length(self) -> int:
        """Tokens that prompt and response may have together."""
        return context_length(self.config, self.limit or 1 << 20)

    @cached_property
    def eos_ids(self) -> tuple[int, ...]:
        """The ids that end a response: the tokenizer's and the generation configuration's."""
        generation: GenerationConfig | None = getattr(self.model, "generation_config", None)
        ids = getattr(generation, "eos_token_id", None)
        ids = ids if isinstance(ids, (list, tuple)) else [ids]
        return tuple(sorted({i for i in (*ids, self.tokenizer.eos_token_id) if i is not None}))

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of the special tokens: `decode` leaves them out."""
        added = getattr(self.tokenizer, "added_tokens_decoder", {})
        return frozenset((*self.tokenizer.all_special_ids, *(i for i, token in added.items() if token.special)))

    def encode_prompt(self, prompt: Any) -> list[int]:
        """Token ids of a prompt under this model's template. An empty text becomes the start token.

        A text gets the special tokens that the tokenizer adds, unless it begins with the start token already. What a
        chat template writes is taken as it is, as transformers' ``apply_chat_template`` does; of a `Chat`, as a text.

        Args:
            prompt: a text, a list of messages ``{"role", "content"}``, or token ids (taken as they are); or a
                `LongPrompt` of one of these.

        Raises:
            GuiderError: messages without a chat template; a prompt with no token; what is no prompt.
        """
        if isinstance(prompt, LongPrompt):
            return self.encode_prompt(prompt.prompt)[-max(1, self.max_length - prompt.room) :]
        check_prompt(prompt)
        if is_text(prompt):
            taken_as_it_is = self._through_chat_template(prompt) and not isinstance(prompt, Chat)
            ids = self.encode_text(self.render(prompt), special=not taken_as_it_is)
        else:
            ids = [int(i) for i in prompt]
        if not ids:
            start = self.tokenizer.bos_token_id
            start = self.tokenizer.eos_token_id if start is None else start
            if start is None:
                raise GuiderError(f"{self.name}: an empty prompt, and the tokenizer has no start token; give a prompt")
            ids = [start]
        return ids

    def encode_text(self, text: str, special: bool = True) -> list[int]:
        """Token ids of a text.

        Args:
            special: add the special tokens that the tokenizer adds; a text that begins with the start token gets none,
                as in lm-eval's ``hf`` (`lm_eval.models.huggingface.HFLM.tok_encode`).
        """
        start = self.tokenizer.bos_token
        special = special and not (start and text.startswith(start))
        return self.tokenizer(text, add_special_tokens=special)["input_ids"]

    def render(self, prompt: Text) -> str:
        """A text or messages as the text that this model reads, under its template.

        Raises:
            GuiderError: messages without a chat template, or several where the template takes one.
        """
        if self._through_chat_template(prompt):
            messages: Any = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
            template = self.template if _is_jinja(self.template) else None
            if template is None and not getattr(self.tokenizer, "chat_template", None):
                raise GuiderError(f"{self.name} has no chat template; set model template to a string with {{prompt}}")
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, chat_template=template
            )
            assert isinstance(text, str)  # of one chat, with `tokenize=False`
            return text
        if not isinstance(prompt, str) and len(prompt) != 1:
            raise GuiderError(
                f"{self.name}: the template {self.template!r} takes one message, not {len(prompt)}; use a chat template"
            )
        text = prompt if isinstance(prompt, str) else str(prompt[0]["content"])
        return text if self.template is None else self.template.replace("{prompt}", text)

    def _through_chat_template(self, prompt: Text) -> bool:
        if self.template == "chat" or _is_jinja(self.template):
            return True
        return not isinstance(prompt, str) and not (self.template and "{prompt}" in self.template)

    def decode(self, tokens: list[int], special: bool = False) -> str:
        """The text of response tokens, special tokens left out unless `special`."""
        text = self.tokenizer.decode(tokens, skip_special_tokens=not special, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)  # of one list of tokens
        return text


def _is_jinja(template: str | None) -> bool:
    return template is not None and ("{%" in template or "{{" in template)
