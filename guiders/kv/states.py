"""States of recurrent layers (state-space, linear attention, short convolutions): one for each survivor and each row.

Such a layer keeps no keys of earlier tokens but one state that every token changes. There is nothing to share and
nothing to go back to: a prompt's state is copied to its survivors, a survivor's to its successors, and the chosen
rows' become the survivors'. The tensors lie in transformers' own cache layers, which the models write to.
"""

import copy
from collections.abc import Iterator

import torch
from transformers import PreTrainedConfig, cache_utils
from transformers.cache_utils import DynamicCache

from guiders.errors import GuiderError

# transformers of before its layers kept states has none of these
_RECURRENT = getattr(cache_utils, "LinearAttentionCacheLayerMixin", ())
# what is cached here in another form: keys and values, and nothing
_KNOWN = ("DynamicLayer", "DynamicSlidingWindowLayer", "DummyLayer")


def cache_layers(config: PreTrainedConfig | None) -> list:
    """Empty cache layers as transformers makes them for a model; none where it can't be told from the configuration.

    Raises:
        GuiderError: a layer keeps something else than keys, values and recurrent states.
    """
    try:
        layers = DynamicCache(config=config).layers
    except (AttributeError, KeyError, TypeError, ValueError):
        return []
    for layer in layers:
        if not isinstance(layer, _RECURRENT) and type(layer).__name__ not in _KNOWN:
            raise GuiderError(f"it caches a {type(layer).__name__}")
    return layers


class RecurrentStates:
    """The states of one model for P slots of S survivors with K successors each.

    Args:
        config: the model's. shape: ``(P, S, K)``.
    """

    def __init__(self, config: PreTrainedConfig | None, shape: tuple[int, int, int]):
        self.config = config
        self.shape = shape
        self.empty = cache_layers(config)
        self.recurrent = any(isinstance(layer, _RECURRENT) for layer in self.empty)
        self.prompt: list = []
        self.survivors: list = []  # rows [P * S]
        self.rows: list = []  # rows [P * S * K]
        self.before: list[torch.Tensor] = []

    def begin(self, kind: str, inside: torch.Tensor | None, offset: int = 0) -> list:
        """The layers that a pass of this kind reads and writes. `inside`, `offset`: see `guiders.kv.segments.Pass`."""
        if not self.recurrent:
            return []
        if kind == "prefill":
            self.prompt = copy.deepcopy(self.empty)
            return self.prompt
        if kind == "history":
            return self.survivors
        if kind == "peek":
            layers = self.rows if offset else self.survivors
            self.before = [states[key].clone() for states, key in _tensors(layers)]
            return layers
        self.before = [] if inside is None else [states[key].clone() for states, key in _tensors(self.rows)]
        return self.rows

    def end(self, kind: str, slots: tuple[int, ...], inside: torch.Tensor | None, offset: int = 0) -> None:
        """The pass is over: what it wrote goes to those who go on from it."""
        if not self.recurrent:
            return
        if kind == "prefill":
            if not self.survivors:
                self.survivors, self.rows = copy.deepcopy(self.prompt), copy.deepcopy(self.prompt)
                for layers, rows in ((self.survivors, self.each(1)), (self.rows, self.each(2))):
                    for states, key in _tensors(layers):
                        states[key] = states[key].new_zeros(self.shape[0] * rows, *states[key].shape[1:])
            (slot,) = slots
            for layers, rows in ((self.survivors, self.each(1)), (self.rows, self.each(2))):
                for (states, key), (new, _) in zip(_tensors(layers), _tensors(self.prompt), strict=True):
                    states[key][slot * rows : (slot + 1) * rows] = new[key]
            self.prompt = []
        elif kind == "history":
            self._spread()
        elif kind == "peek":
            layers = self.rows if offset else self.survivors
            for (states, key), old in zip(_tensors(layers), self.before, strict=True):
                states[key].copy_(old)
            self.before = []
        elif inside is not None:
            for (states, key), old in zip(_tensors(self.rows), self.before, strict=True):
                kept = inside.to(old.device).view(-1, *[1] * (old.dim() - 1))
                states[key].copy_(torch.where(kept, states[key], old))
            self.before = []

    def each(self, depth: int) -> int:
        """Rows of a slot: S at depth 1, S·K at depth 2."""
        return self.shape[1] if depth == 1 else self.shape[1] * self.shape[2]

    def commit(self, rows: torch.Tensor) -> None:
        """The chosen rows ``[P, S']``, each by its place among the S·K of its slot, become the survivors."""
        if not self.recurrent:
            return
        chosen = (rows + self.each(2) * torch.arange(len(rows), device=rows.device)[:, None]).flatten()
        fewer = rows.shape[1] != self.shape[1]
        self.shape = (self.shape[0], rows.shape[1], self.shape[2])
        for (states, key), (new, _) in zip(_tensors(self.survivors), _tensors(self.rows), strict=True):
            taken = new[key].index_select(0, chosen.to(new[key].device))
            if fewer:
                states[key] = taken
                new[key] = taken.repeat_interleave(self.shape[2], 0)
            else:
                states[key].copy_(taken)
        self._spread()

    def _spread(self) -> None:
        """Every survivor's state to its successors."""
        for (states, key), (new, _) in zip(_tensors(self.rows), _tensors(self.survivors), strict=True):
            states[key].view(-1, self.shape[2], *states[key].shape[1:]).copy_(new[key][:, None])

    def keep(self, slots: torch.Tensor) -> None:
        """Keep only these slots (``[P']``), in this order."""
        for layers, rows in ((self.survivors, self.each(1)), (self.rows, self.each(2))):
            for states, key in _tensors(layers):
                of_slots = states[key].view(-1, rows, *states[key].shape[1:])
                states[key] = of_slots.index_select(0, slots.to(of_slots.device)).flatten(0, 1)
        self.shape = (len(slots), *self.shape[1:])

    def tensors(self) -> list[torch.Tensor]:
        """All states of survivors and rows."""
        return [states[key] for states, key in (*_tensors(self.survivors), *_tensors(self.rows))]


def _tensors(layers: list) -> Iterator[tuple[dict, int]]:
    """Where each state lies: a dictionary of a layer's, and the key in it."""
    for layer in layers:
        if isinstance(layer, _RECURRENT):
            for states in (layer.conv_states, layer.recurrent_states):
                yield from ((states, key) for key, state in states.items() if state is not None)
