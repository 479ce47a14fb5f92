"""A sequence classifier as a reward model: the reward of a response to a prompt, read as text."""

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerBase

from guiders.errors import GuiderError
from guiders.kv.exclusive import exclusive
from guiders.models.configuration import text_config
from guiders.models.damaged import naming_damaged_weights
from guiders.models.prompt import Text
from guiders.models.vocab import check_ids


class Classifier:
    """Any ``AutoModelForSequenceClassification`` with one label (its logit is the reward) or two (the logit of label 1
    minus that of label 0: the log-odds of the positive class); or a value model with a scalar head, whose value of the
    whole text is the reward.

    Args:
        model: the classifier, or a function that gives it.
        tokenizer: its tokenizer.
        template: how prompt and response become its input. None: the tokenizer's chat template, or, without one, a pair
            of texts. A string with ``{prompt}`` and ``{response}``: the texts go there.
        batch_size: texts to a forward pass.
        name: what messages call it.

    Attributes:
        evaluated: tokens read so far, padding included.
    """

    def __init__(
        self,
        model: nn.Module | Callable[[], nn.Module],
        tokenizer: PreTrainedTokenizerBase,
        template: str | None = None,
        batch_size: int = 64,
        name: str = "classifier",
    ):
        self._model = model
        self.tokenizer = tokenizer
        self.template = template
        self.batch_size = batch_size
        self.name = name
        self.evaluated = 0
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token

    @classmethod
    def load(
        cls,
        path: str,
        *,
        revision: str | None = None,
        dtype: str = "float32",
        device: str = "cpu",
        template: str | None = None,
        trust_remote_code: bool = False,
    ) -> "Classifier":
        """Load from a folder or a hub name; safetensors only. The weights are read when first needed.

        Raises:
            GuiderError: no such model or tokenizer; when the weights are read: no safetensors, or more than two labels.
        """
        options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
        try:
            config = AutoConfig.from_pretrained(path, **options)
            tokenizer = AutoTokenizer.from_pretrained(path, **options)
        except (OSError, ValueError, KeyError) as error:
            if getattr(error, "errno", None):  # the operating system's own: the file is there and can't be read
                raise
            raise GuiderError(
                f"classifier {path}: can't be loaded ({_reason(error)}); give a folder or a hub name"
            ) from error

        def weights() -> nn.Module:
            if not str((config.architectures or [""])[0]).endswith("ForSequenceClassification"):
                from guiders.models.value_model import ValueModel

                return ValueModel.load(path, dtype=dtype, device=device, **options)
            with naming_damaged_weights(path, revision):
                try:
                    model = AutoModelForSequenceClassification.from_pretrained(
                        path, dtype=getattr(torch, dtype), use_safetensors=True, **options
                    )
                except (OSError, ValueError) as error:
                    if getattr(error, "errno", None):
                        raise
                    raise GuiderError(
                        f"classifier {path}: no weights to read ({_reason(error)}); convert it with save_pretrained"
                    ) from error
            return model.to(device)

        return cls(weights, tokenizer, template, name=str(path))

    @cached_property
    def model(self) -> nn.Module:
        """The weights, loaded on first use, in evaluation mode."""
        with torch.inference_mode(False):
            model = self._model if isinstance(self._model, nn.Module) else self._model()
        if getattr(model, "kind", "scalar") != "scalar":
            raise GuiderError(f"{self.name} values every next token; a reward model has one output: use it as a value")
        labels = getattr(model.config, "num_labels", 1)
        if not hasattr(model, "score_head") and labels > 2:
            raise GuiderError(f"{self.name} has {labels} labels; a reward model has one, or two")
        text_config(model).pad_token_id = self.tokenizer.pad_token_id
        return model.eval()

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.model.parameters()).device

    @torch.inference_mode()
    def rewards(self, pairs: Sequence[tuple[Text, str]]) -> torch.Tensor:
        """The rewards of (prompt, response) pairs, in their order: ``[n]``, float64 on the CPU.

        Args:
            pairs: a prompt is a text or a list of messages. A text longer than the classifier reads loses its
                beginning.
        """
        texts = [self._input(prompt, response) for prompt, response in pairs]
        order = sorted(range(len(pairs)), key=lambda place: len(texts[place]))
        rewards = torch.zeros(len(pairs), dtype=torch.float64)
        for start in range(0, len(order), self.batch_size):
            places = order[start : start + self.batch_size]
            # padded on the right: the classifiers of causal models look for the last token that is not padding
            batch = self.tokenizer.pad(
                {"input_ids": [texts[place] for place in places]}, padding_side="right", return_tensors="pt"
            ).to(self.device)
            with exclusive(self.model):
                self.evaluated += batch["input_ids"].numel()
                output = self.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
            logits = output.logits.double()
            if logits.dim() == 3:  # a value at every position: the last one's is the text's
                last = batch["attention_mask"].sum(-1) - 1
                logits = logits[torch.arange(len(places), device=logits.device), last]
            rewards[places] = (logits[:, -1] - (logits[:, 0] if logits.shape[1] == 2 else 0.0)).cpu()
        return rewards

    def positions(self, prompt: Text, response: str) -> int:
        """Tokens that the classifier reads for a pair."""
        return len(self._input(prompt, response))

    def _input(self, prompt: Text, response: str) -> list[int]:
        if self.template is not None:
            if not isinstance(prompt, str):
                prompt = "\n\n".join(message["content"] for message in prompt)
            # in one pass: a prompt may itself hold the other placeholder
            text = "".join(
                {"{prompt}": prompt, "{response}": response}.get(part, part) for part in _split(self.template)
            )
            ids = self._tokens(text)
        elif getattr(self.tokenizer, "chat_template", None):
            chat = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
            messages: Any = [*chat, {"role": "assistant", "content": response}]
            written = self.tokenizer.apply_chat_template(messages, tokenize=False)
            ids = self.tokenizer(written, add_special_tokens=False)["input_ids"]  # the template writes them
        else:
            text = prompt if isinstance(prompt, str) else "\n\n".join(message["content"] for message in prompt)
            ids = self._tokens(*((text, response) if text else (response,)))
        if not ids:
            ids = [self.tokenizer.pad_token_id]
        check_ids(ids, text_config(self.model).vocab_size, self.name)
        return ids[-self._longest :]

    def _tokens(self, *texts: str) -> list[int]:
        """A text's or a pair's ids, with the start token once where the text begins with it already."""
        ids, start = self.tokenizer(*texts)["input_ids"], self.tokenizer.bos_token
        written = bool(start) and texts[0].startswith(start)
        return ids[1:] if written and ids[:2] == [self.tokenizer.bos_token_id] * 2 else ids

    @cached_property
    def _longest(self) -> int:
        config = text_config(self.model)
        found = [getattr(config, name, None) for name in ("n_positions", "max_position_embeddings")]
        # RoBERTa-like tables keep rows below the padding id for themselves: the tokenizer knows
        return min([length for length in (*found, self.tokenizer.model_max_length) if length])


def _split(template: str) -> list[str]:
    return re.split(r"(\{prompt\}|\{response\})", template)


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
