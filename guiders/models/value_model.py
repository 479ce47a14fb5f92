"""A causal language model with a value head: what an explicit value is made of.

Two head shapes, told apart by ``score_head.weight``:

- ``scalar``, ``Linear(H, 1)``: the output at position ``t`` is ``V(y≤t)``, the value of the prefix ending there.
- ``vocab``, ``Linear(H, vocab, bias=False)``: the output at position ``t`` is ``Q(y≤t, ·)``, the value of each
  extension by one token; the value of a prefix is the entry of its last token, one position earlier. It is the layout
  of the checkpoints published with IVG (Liu et al., 2024, arXiv 2409.17819).

On disk: the backbone's weights under the prefix of its causal LM (``transformer.`` for GPT-2, ``model.`` for Llama) and
``score_head.weight``, in safetensors.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils import cached_file
from transformers.utils.quantization_config import QuantizationConfigMixin

from guiders.errors import GuiderError
from guiders.models.damaged import naming_damaged_weights

HEAD = "score_head"
WEIGHTS, INDEX, PICKLED = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"


class ValueModel(nn.Module):
    """A causal backbone and a linear head; called like a causal LM, its ``logits`` are values.

    Args:
        backbone: a transformers model without a head, such as ``GPT2Model``.
        head: ``Linear(H, 1)`` (scalar) or ``Linear(H, vocab, bias=False)``.
    """

    def __init__(self, backbone: PreTrainedModel, head: nn.Linear):
        super().__init__()
        self.backbone = backbone
        self.score_head = head
        self.config.value_head = self.kind

    @classmethod
    def from_config(cls, config: PreTrainedConfig, kind: str = "scalar") -> "ValueModel":
        """A freshly initialised model; the head starts at zero, so every value does.

        Args:
            config: of the backbone (a copy is kept by the caller if it must not learn the head's kind).
            kind: ``scalar`` or ``vocab``.
        """
        return cls.on(AutoModel.from_config(config), kind)

    @classmethod
    def on(cls, backbone: PreTrainedModel, kind: str = "scalar") -> "ValueModel":
        """A new head on a backbone, such as a language model's; the head starts at zero, so every value does."""
        if kind not in ("scalar", "vocab"):
            raise GuiderError(f"value head {kind!r} is unknown; choose scalar or vocab")
        config, scalar = backbone.config, kind == "scalar"
        head = nn.Linear(config.hidden_size, 1 if scalar else config.vocab_size, bias=scalar)
        for parameter in head.parameters():
            nn.init.zeros_(parameter)
        return cls(backbone, head.to(backbone.dtype))

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        revision: str | None = None,
        dtype: str | torch.dtype = "float32",
        device: str | torch.device = "cpu",
        device_map: str | dict | None = None,
        quantization_config: Mapping[str, object] | QuantizationConfigMixin | None = None,
        trust_remote_code: bool = False,
    ) -> "ValueModel":
        """Read a value model in the published layout, from a folder or the hub.

        Args:
            device: where all of it goes, unless `device_map` or `quantization_config` (of transformers) place the
                backbone; the head then goes to where the backbone ends, and is not quantised.

        Raises:
            GuiderError: no safetensors (with the command that converts a ``pytorch_model.bin``), no ``score_head``, a
                head of the wrong shape, or weights of the backbone missing.
        """
        dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
        with naming_damaged_weights(path, revision):
            head = _read_head(path, revision)
        options = {"revision": revision, "trust_remote_code": trust_remote_code}
        config = AutoConfig.from_pretrained(path, **options)
        _check_head(path, config, head)
        # score_head is not the backbone's, which transformers would report at length.
        loading = logging.getLogger("transformers")
        level = loading.level
        loading.setLevel(logging.ERROR)
        try:
            with naming_damaged_weights(path, revision):
                backbone, info = AutoModel.from_pretrained(
                    path,
                    config=config,
                    dtype=dtype,
                    use_safetensors=True,
                    output_loading_info=True,
                    device_map=device_map,
                    quantization_config=quantization_config,
                    **options,
                )
        finally:
            loading.setLevel(level)
        if info["missing_keys"]:
            raise GuiderError(
                f"{path}: no weight {sorted(info['missing_keys'])[0]!r}; is it a {config.model_type} model?"
            )
        weight, bias = head["weight"], head.get("bias")
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        linear.load_state_dict(head)
        if device_map is None and quantization_config is None:
            backbone = backbone.to(device)
        *_, last = backbone.parameters()
        return cls(backbone, linear.to(last.device, dtype)).eval()

    def save(self, path: str | Path) -> None:
        """Write ``model.safetensors`` and ``config.json`` in the published layout, into the folder ``path``."""
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        prefix = self.backbone.base_model_prefix
        weights = {f"{prefix}.{name}": weight for name, weight in self.backbone.state_dict().items()}
        weights |= {f"{HEAD}.{name}": weight for name, weight in self.score_head.state_dict().items()}
        weights = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
        save_file(weights, path / WEIGHTS, metadata={"format": "pt"})
        self.config.architectures = [type(self).__name__]
        self.config.save_pretrained(path)

    @property
    def config(self) -> PreTrainedConfig:
        """The backbone's configuration, with ``value_head`` added."""
        return self.backbone.config

    @property
    def kind(self) -> str:
        """``scalar`` or ``vocab``."""
        return "scalar" if self.score_head.out_features == 1 else "vocab"

    @property
    def device(self) -> torch.device:
        return self.score_head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.score_head.weight.dtype

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: object,
    ) -> CausalLMOutputWithPast:
        """Values in the place of logits.

        Args:
            input_ids: ``[rows, length]``.
            logits_to_keep: the last so many positions only (0: all), or a tensor of positions, as in transformers.

        Returns:
            ``logits`` of shape ``[rows, length, 1]`` (scalar) or ``[rows, length, vocab]``, and ``past_key_values``.
        """
        out = self.backbone(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **kwargs,
        )
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        values = self.score_head(out.last_hidden_state[:, keep])
        return CausalLMOutputWithPast(logits=values, past_key_values=out.past_key_values)

    def prefix_values(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, start: int | torch.Tensor = 0
    ) -> torch.Tensor:
        """The value of every prefix, in one pass without a cache.

        Args:
            input_ids: ``[rows, length]``, padded on either side.
            attention_mask: ``[rows, length]``, 0 on padding.
            start: the column where the response begins, one for all rows or ``[rows]``.

        Returns:
            ``[rows, length]``, float32: entry ``t`` is the value of the prefix that ends with token ``t``; NaN where no
            response token ends (before ``start``, on padding and, for a Q head, on the very first token, which
            nothing precedes).
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        out = self(input_ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
        values, known = self.read(out, input_ids), mask.bool()
        if self.kind == "vocab":
            # The token before must be a real one: padding has no opinion about the first token.
            known = known & torch.cat([torch.zeros_like(known[:, :1]), known[:, :-1]], dim=1)
        columns = torch.arange(input_ids.shape[1], device=input_ids.device)
        begun = columns >= torch.as_tensor(start, device=input_ids.device).reshape(-1, 1)
        return values.float().masked_fill(~(known & begun), float("nan"))

    def read(self, out: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
        """From the head's output to the value of the prefix ending with each token.

        Args:
            out: ``[rows, length, 1 or vocab]``, ``forward``'s ``logits`` at every position.
            input_ids: ``[rows, length]``.

        Returns:
            ``[rows, length]``; column 0 of a Q head is 0, nothing precedes it.
        """
        if self.kind == "scalar":
            return out[..., 0]
        taken = out[:, :-1].gather(-1, input_ids[:, 1:, None])[..., 0]
        return torch.cat([torch.zeros_like(taken[:, :1]), taken], dim=1)


def _find(path: str | Path, name: str, revision: str | None) -> str | None:
    """A file of a checkpoint: in the folder, or from the hub (downloaded on first use), or None."""
    return cached_file(
        path,
        name,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_connection_errors=False,
    )


def _read_head(path: str | Path, revision: str | None) -> dict[str, torch.Tensor]:
    """The tensors of ``score_head``, keyed ``weight`` and, where there is one, ``bias``."""
    names = {f"{HEAD}.weight", f"{HEAD}.bias"}
    single, index = _find(path, WEIGHTS, revision), _find(path, INDEX, revision)
    if single is not None:
        files = {single}
    elif index is not None:
        shards = json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"]
        found = (_find(path, shards[name], revision) for name in names & shards.keys())
        files = {file for file in found if file is not None}
    elif _find(path, PICKLED, revision) is not None:
        raise GuiderError(
            f"{path}: only {PICKLED}, which can run code when read; convert it once where you trust it: "
            f'python -c "import torch; from safetensors.torch import save_file; '
            f"save_file({{k: v.contiguous().clone() for k, v in torch.load('{PICKLED}', weights_only=True).items()}}, "
            f"'{WEIGHTS}', {{'format': 'pt'}})\""
        )
    else:
        raise GuiderError(f"{path}: no {WEIGHTS} there; give a folder or a hub name with a value model")
    head: dict[str, torch.Tensor] = {}
    for file in sorted(files):
        with safe_open(file, framework="pt") as tensors:
            head |= {name.removeprefix(f"{HEAD}."): tensors.get_tensor(name) for name in names & set(tensors.keys())}
    if "weight" not in head:
        raise GuiderError(
            f"{path}: no {HEAD}.weight in the safetensors; a language model is no value model, train one on it"
        )
    return head


def _check_head(path: str | Path, config: PreTrainedConfig, head: dict[str, torch.Tensor]) -> None:
    rows, hidden = head["weight"].shape
    kind = getattr(config, "value_head", "scalar" if rows == 1 else "vocab")
    expected = (1 if kind == "scalar" else config.vocab_size, config.hidden_size)
    if (rows, hidden) != expected:
        raise GuiderError(
            f"{path}: {HEAD}.weight is [{rows}, {hidden}], config.json says {kind}, which is {list(expected)}; "
            "correct value_head or vocab_size in config.json"
        )
