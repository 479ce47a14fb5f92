"""How much memory a prompt takes while it is decoded, from the models' configurations: no weights are read."""

from dataclasses import dataclass
from typing import Any

import torch

from guiders.decoding.available import available
from guiders.guider import Guider
from guiders.kv.segments import ALIGNED
from guiders.models.lm import LM

NUMBERS = 48  # bytes of a row's token: its id, the number it was drawn by, and what is measured of it
SHARE = 0.9  # of the memory that is there; a tenth stays for what is not counted
FIXED = 1 << 28  # bytes that a process comes to take however few rows it decodes: libraries, packed weights
WIDTHS = 12  # vectors of the model's width that a pass holds of a row: queries, keys and values, two of the MLP


@dataclass(frozen=True)
class Need:
    """Bytes that one prompt takes at most, of all models.

    Attributes:
        caches: keys and values of the prompt once, of the history once per survivor and of the chunk once per row.
        logits: over the vocabulary, of every survivor and every row, and float32 copies on an accelerator.
        work: activations of a pass, numbers of every token, and a copy of one layer's history while it is reordered.
    """

    caches: int
    logits: int
    work: int

    @property
    def total(self) -> int:
        return self.caches + self.logits + self.work

    def in_words(self, rows: int) -> str:
        """What one prompt of so many rows needs."""
        return (
            f"one prompt with {rows} rows needs {in_words(self.total)} of memory (caches {in_words(self.caches)}, "
            f"logits {in_words(self.logits)}, the rest {in_words(self.work)})"
        )


def needed(guider: Guider, prompt: int, limit: int, device: str = "cpu") -> Need:
    """What one prompt needs.

    Args:
        prompt: its tokens. limit: tokens of its response at most. device: "cpu", or an accelerator's name.
    """
    search = guider.search
    survivors, rows = search.survivors, search.rows
    columns = min(search.ends.most or limit, limit)
    history, tokens = _history(limit, columns), prompt + limit + columns
    caches = logits = work = 0
    for lm, head in (*((lm, True) for lm in guider.models), *_value_lanes(guider)):
        size, config = lm.dtype.itemsize, lm.config
        token, layers = _bytes_of_a_token(lm), _caching(config)
        caches += token * (_aligned(prompt) + survivors * history + rows * columns)
        logits += size * (config.vocab_size if head else 1) * (1 + survivors + rows)
        width = getattr(config, "hidden_size", 0)
        heads = max((getattr(layer, "num_attention_heads", 0) for layer in layers), default=0)
        activations = size * WIDTHS * width + 8 * heads * tokens
        work = max(work, token // max(1, len(layers)) * survivors * history + rows * activations)
    # on a CPU a few rows at a time pass through the vocabulary
    copies = 3 if device != "cpu" else int(bool(guider.remembering))
    logits += 4 * copies * rows * guider.base.config.vocab_size
    return Need(caches, logits, work + NUMBERS * (rows * columns + survivors * limit))


def usable(device: torch.device | str, memory: int | None = None) -> int | None:
    """Bytes for prompts that are decoded: as given, else of what is there; None where the system does not say."""
    if memory is not None:
        return memory
    there = available(device)
    return None if there is None else max(0, int((there - FIXED) * SHARE))


def _value_lanes(guider: Guider) -> tuple[tuple[LM, bool], ...]:
    """The models that read the response for the value alone, and whether each puts out a vocabulary.

    A value model that is not loaded yet is taken to put out one number, as most do.
    """
    models: tuple[LM, ...] = tuple(getattr(guider.value, "models", ())) if guider.chooses else ()
    if not models or guider.retokenising:
        return tuple((lm, True) for lm in models)
    value = guider.value
    if value is not None and hasattr(value, "reads") and all(lm.is_loaded or lm in guider.models for lm in models):
        return tuple((read.lm, read.head or not read.last) for read in value.reads(guider))
    return tuple((lm, False) for lm in models)


def _history(limit: int, columns: int) -> int:
    """Columns that the history of a response of `limit` tokens comes to, growing as `guiders.kv.segments` does; what
    the last chunk adds is not moved there."""
    capacity = length = 0
    while length + columns < limit:
        length += columns
        if capacity < length:
            capacity = _aligned(max(length, capacity * 3 // 2))
    return capacity


def _aligned(columns: int) -> int:
    return -(-columns // ALIGNED) * ALIGNED


def _caching(config: Any) -> list[Any]:
    """The configuration of every layer that caches keys and values: the model's, unless layers are of unlike widths."""
    unlike = getattr(config, "is_heterogeneous", False)
    layers = list(config.per_layer_config) if unlike else [config] * int(getattr(config, "num_hidden_layers", 0) or 0)
    kinds = getattr(config, "layer_types", None)
    if not kinds:
        return layers
    caches = ["attention" in kind and "linear" not in kind for kind in kinds]
    return [layer for layer, there in zip(layers, caches, strict=False) if there]


def _bytes_of_a_token(lm: LM) -> int:
    """Of its keys and values in all layers."""
    return lm.dtype.itemsize * sum(map(_numbers_of_a_token, _caching(lm.config)))


def _numbers_of_a_token(config: Any) -> int:
    """Of its keys and values in a layer of such a configuration."""
    if not getattr(config, "num_attention_heads", None):  # a table, or another model without attention
        return 0
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    keys = values = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if getattr(config, "kv_lora_rank", None) and hasattr(config, "qk_nope_head_dim"):  # latent attention, expanded
        heads, values = config.num_attention_heads, config.v_head_dim
        keys = config.qk_nope_head_dim + config.qk_rope_head_dim
    return int(heads * (keys + values))


def in_words(size: float) -> str:
    """Bytes in words: "548 MB", "13.5 GB"."""
    for unit, name, digits in ((1e9, "GB", 1), (1e6, "MB", 0)):
        if size >= unit:
            return f"{size / unit:.{digits}f} {name}"
    return f"{size / 1e3:.0f} kB"
