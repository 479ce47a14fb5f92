"""A text encoder: a vector for a text."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

import torch
from transformers import AutoModel, AutoModelForTextEncoding, AutoTokenizer, PretrainedConfig

from guiders.errors import GuiderError
from guiders.kv.exclusive import exclusive
from guiders.models.damaged import naming_damaged_weights
from guiders.models.lm import LM
from guiders.models.vocab import check_ids

POOLING = ("mean", "first", "last")


class Encoder:
    """The pooled last hidden states of any transformers model, or what a model gives as ``[n, d]`` by itself.

    Args:
        model: the model, or a function that gives it.
        tokenizer: its tokenizer.
        pooling: over a text's tokens: their "mean", the "first" one's (CLS) or the "last" one's.
        batch_size: texts to a forward pass.
        name: what messages call it.

    Attributes:
        evaluated: tokens read so far, padding included.
    """

    def __init__(self, model: Any, tokenizer: Any, pooling: str = "mean", batch_size: int = 64, name: str = "encoder"):
        if pooling not in POOLING:
            raise GuiderError(f"{name}: pooling={pooling!r} is unknown; choose one of {', '.join(POOLING)}")
        self._model, self.tokenizer, self.pooling = model, tokenizer, pooling
        self.batch_size, self.name, self.evaluated = batch_size, name, 0
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
        pooling: str = "mean",
        trust_remote_code: bool = False,
    ) -> "Encoder":
        """Load from a folder or a hub name; safetensors only. Of an encoder and decoder the encoder is taken. The
        weights are read when first needed.

        Raises:
            GuiderError: no such model or tokenizer; when the weights are read: no safetensors.
        """
        options = {"revision": revision, "trust_remote_code": trust_remote_code}
        try:
            tokenizer = AutoTokenizer.from_pretrained(path, **options)
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise GuiderError(f"encoder {path}: can't be loaded ({reason}); give a folder or a hub name") from error

        def weights() -> torch.nn.Module:
            with naming_damaged_weights(path, revision):
                given = {"dtype": getattr(torch, dtype), "use_safetensors": True, **options}
                try:
                    try:
                        model = AutoModelForTextEncoding.from_pretrained(path, **given)
                    except ValueError:  # no such class for this architecture
                        model = AutoModel.from_pretrained(path, **given)
                except (OSError, ValueError) as error:
                    reason = str(error).strip().splitlines()[0]
                    raise GuiderError(
                        f"encoder {path}: no weights to read ({reason}); convert it with save_pretrained"
                    ) from error
            return model.to(device)

        return cls(weights, tokenizer, pooling, name=str(path))

    @classmethod
    def of(cls, lm: LM, pooling: str = "mean") -> "Encoder":
        """A language or value model as an encoder, on the same weights."""

        def backbone() -> torch.nn.Module:
            return cast(torch.nn.Module, getattr(lm.model, "backbone", None) or lm.model.base_model)

        return cls(backbone, lm.tokenizer, pooling, name=lm.name)

    @cached_property
    def model(self) -> torch.nn.Module:
        """The weights, loaded on first use, in evaluation mode."""
        with torch.inference_mode(False):
            model = self._model if isinstance(self._model, torch.nn.Module) else self._model()
        return model.eval()

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], end: bool = False) -> torch.Tensor:
        """Vectors ``[n, d]``, float64 on the CPU.

        Args:
            end: what is longer than the model reads keeps its end, else its beginning.
        """
        ids = [self._ids(text, end) for text in texts]
        parts = []
        for start in range(0, len(ids), self.batch_size):
            some = ids[start : start + self.batch_size]
            longest = max(map(len, some))
            pad = int(self.tokenizer.pad_token_id or 0)
            tokens = torch.tensor([one + [pad] * (longest - len(one)) for one in some], device=self.device)
            lengths = torch.tensor([len(one) for one in some], device=self.device)
            mask = (torch.arange(longest, device=self.device) < lengths[:, None]).long()
            with exclusive(self.model):
                self.evaluated += tokens.numel()
                output = self.model(input_ids=tokens, attention_mask=mask)
            parts.append(output if isinstance(output, torch.Tensor) else self._pooled(output.last_hidden_state, mask))
        return torch.cat(parts).double().cpu()

    def positions(self, text: str) -> int:
        """Tokens that it reads of a text."""
        return len(self._ids(text, False))

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _pooled(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.pooling == "first":
            return states[:, 0]
        if self.pooling == "last":
            return states[torch.arange(len(states), device=states.device), mask.sum(-1) - 1]
        weights = mask[..., None].to(states)
        return (states * weights).sum(1) / weights.sum(1)

    def _ids(self, text: str, end: bool) -> list[int]:
        ids = self.tokenizer(text)["input_ids"] or [int(self.tokenizer.pad_token_id or 0)]
        config = cast(PretrainedConfig, self.model.config).get_text_config()
        check_ids(ids, config.vocab_size, self.name)
        found = [getattr(config, name, None) for name in ("n_positions", "max_position_embeddings")]
        longest = min(length for length in (*found, self.tokenizer.model_max_length) if length)
        return ids[-longest:] if end else ids[:longest]
