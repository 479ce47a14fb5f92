"""One key-value cache in three segments, which `guiders.kv.attention` reads together.

Rows of a guided search share most of what they attend to. The cache keeps each shared part once:

- the *prompt* segment, one copy per slot (a prompt being decoded): ``[P, H, T, D]``;
- the *history* segment, one copy per surviving hypothesis: ``[P, H, S, T, D]``;
- the *chunk* segment, one copy per row (successor of a survivor): ``[T, P, H, S, K, D]``.

Heads come before hypotheses, so that all rows that share a key are one matrix, and no score has to be moved before or
after a product. The keys of the prompt and the history are stored transposed, ``[..., D, T]``: they are written once
and read at every step, and a product of few rows is half as fast again with the transposed operand. Of the chunk, what
one step writes lies together.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.cache_utils import Cache, DynamicLayer

from guiders.errors import GuiderError
from guiders.kv.masks import MaskRule
from guiders.kv.passes import Pass
from guiders.kv.states import RecurrentStates

ALIGNED = 16  # columns that capacities are rounded up to, so that rows of transposed keys are aligned


Pair = tuple[Tensor, Tensor]
"""Keys and values."""


class Layer:
    """The three segments of one layer; each is ``(keys, values)`` or None until first written."""

    def __init__(self) -> None:
        self.prompt: Pair | None = None
        self.history: Pair | None = None
        self.chunk: Pair | None = None


class SegmentCache(Cache):
    """The key-value cache of one model for P slots of S survivors with K successors each.

    Args:
        slots, survivors, successors: P, S and K.
        columns: tokens of a chunk that a row may hold.
        fixed: nothing moves between boundaries, so that graphs can be replayed: the reordered history is written where
            the old one lay (one more copy).
        config: the model's configuration, which says where it keeps recurrent states.
    """

    def __init__(
        self,
        slots: int,
        survivors: int,
        successors: int,
        columns: int,
        fixed: bool = False,
        config: PreTrainedConfig | None = None,
    ):
        super().__init__(layer_class_to_replicate=DynamicLayer)
        self.shape = (slots, survivors, successors)
        self.columns = columns
        self.fixed = fixed
        self.segments: list[Layer] = []
        self.now: Pass  # of this moment, from `begin` on
        self.written = 0  # layers that have written in this pass
        self._masks: dict = {}
        self.states = RecurrentStates(config, self.shape)

    # What transformers asks of a cache. Positions are always given, so lengths are never read from here.
    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0

    @property
    def is_compileable(self) -> bool:
        return False

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        return query_length, 0

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kwargs: object) -> Pair:
        """Nothing: `guiders.kv.attention` writes what it is given to attend to."""
        return key_states, value_states

    def write(self, key_states: Tensor, value_states: Tensor) -> Layer:
        """Write the new keys and values ``[rows, H, n, D]`` of the pass's next attention where the pass says.

        Layers are counted as they come, which every pass of a model does in the same order.

        Raises:
            GuiderError: they are not of the pass's tokens.
        """
        if self.written == len(self.segments):
            self.segments.append(Layer())
        layer, now = self.segments[self.written], self.now
        self.written += 1
        if key_states.shape[::2][:2] != now.positions.shape:
            raise GuiderError("it attends to other tokens than those of the text")
        pair = (key_states, value_states)
        slots, survivors, _ = self.shape
        heads, n, _ = key_states.shape[1:]
        if now.kind == "peek":
            return layer
        if now.kind == "prefill":
            layer.prompt = self._room(layer.prompt, (slots, heads), pair, now.prompt)
            keys, values = layer.prompt
            for slot, (start, stop) in zip(now.slots, now.spans, strict=True):
                keys[slot, :, :, : stop - start] = key_states[0, :, start:stop].transpose(1, 2)
                values[slot, :, : stop - start] = value_states[0, :, start:stop]
        elif now.kind == "history":
            assert now.starts is not None
            layer.history = self._room(layer.history, (slots, heads, survivors), pair, now.history)
            # survivors of one slot can differ in length: each writes at its own end
            at = (now.starts - 1).view(slots, 1, survivors, 1, 1)
            new = [x.reshape(slots, survivors, heads, 1, -1).transpose(1, 2) for x in pair]
            _scatter(layer.history, new, at)
        else:
            if layer.chunk is None or len(layer.chunk[0]) < now.offset + n:
                layer.chunk = self._more_columns(layer.chunk, pair, now.offset + n)
            for segment, x in zip(layer.chunk, pair, strict=True):
                added = x.reshape(*self.shape, heads, n, x.shape[-1]).permute(4, 0, 3, 1, 2, 5)
                if now.column is None:
                    segment[now.offset : now.offset + n] = added
                else:
                    segment.index_copy_(0, now.column.to(segment.device), added)
        return layer

    @staticmethod
    def _room(segment: Pair | None, leading: tuple[int, ...], pair: Pair, length: int) -> Pair:
        """Transposed keys and values with at least `length` columns, grown by half so that growing is rare."""
        if segment is not None and segment[1].shape[-2] >= length:
            return segment
        old = 0 if segment is None else segment[1].shape[-2]
        capacity = -(-max(length, old * 3 // 2) // ALIGNED) * ALIGNED
        width = pair[0].shape[-1]
        # zeros, not garbage: masked columns still enter the products, and 0 * NaN is NaN
        keys = pair[0].new_zeros(*leading, width, capacity)
        values = pair[1].new_zeros(*leading, capacity, pair[1].shape[-1])
        if segment is not None:
            keys[..., :old] = segment[0]
            values[..., :old, :] = segment[1]
        return keys, values

    def _more_columns(self, segment: Pair | None, pair: Pair, length: int) -> Pair:
        """The chunk segment with room for a whole chunk, or for more where more is read at once."""
        slots, survivors, successors = self.shape

        def room(new: Tensor, old: Tensor | None) -> Tensor:
            heads, width = new.shape[1], new.shape[3]
            # zeros, not garbage, where columns may be read before they are written
            make = new.new_zeros if self.fixed else new.new_empty
            grown = make(max(self.columns, length), slots, heads, survivors, successors, width)
            if old is not None:
                grown[: len(old)] = old
            return grown

        keys, values = segment or (None, None)
        return room(pair[0], keys), room(pair[1], values)

    def commit(self, parents: Tensor, rows: Tensor, columns: int, starts: Tensor, history: int, identity: bool) -> None:
        """Make the chosen rows the survivors: their parents' history, then the row's chunk.

        Args:
            parents: ``[P, S']`` the survivor each chosen row came from. rows: ``[P, S']`` the row's place among the
                S·K. Where they are fewer than S, the memory of the others is given up.
            columns: tokens of the chunk to take over (columns past a row's own count are written and never read).
            starts: ``[P, S']`` the tokens of the parent's history that are kept.
            history: columns the history segment must hold afterwards.
            identity: no reordering is needed (every survivor goes on as its own only successor).
        """
        slots, survivors, successors = self.shape
        chosen = rows.shape[1]
        self.states.commit(rows)
        places: dict = {}
        for layer in self.segments:
            if layer.chunk is None and layer.history is None:
                continue
            assert layer.prompt is not None  # it is read first
            heads = layer.prompt[0].shape[1]
            layer.history = self._room(layer.history, (slots, heads, survivors), self._sample(layer), history)
            keys, values = layer.history
            where = (keys.device, heads)
            if where not in places:
                group = torch.arange(slots * heads, device=keys.device).view(slots, heads, 1)
                places[where] = (
                    (group * survivors + parents.to(keys.device)[:, None]).flatten(),
                    (group * survivors * successors + rows.to(keys.device)[:, None]).flatten(),
                    starts.to(keys.device).view(slots, 1, chosen, 1, 1),
                )
            parent, row, start = places[where]
            if not identity:
                keys, values = (
                    x.flatten(0, 2).index_select(0, parent).view(slots, heads, chosen, *x.shape[3:])
                    for x in (keys, values)
                )
            if columns and layer.chunk is not None:
                new = [x[:columns].flatten(1, 4).index_select(1, row) for x in layer.chunk]
                new = [x.view(columns, slots, heads, chosen, -1).movedim(0, -2) for x in new]
                at = start + torch.arange(columns, device=keys.device).view(-1, 1)
                _scatter((keys, values), new, at.clamp_(max=values.shape[-2] - 1))
            if chosen != survivors:
                layer.chunk = None
            elif self.fixed and not identity:
                keys, values = (old.copy_(new) for old, new in zip(layer.history, (keys, values), strict=True))
            layer.history = (keys, values)
        self.shape = (slots, chosen, successors)

    @staticmethod
    def _sample(layer: Layer) -> Pair:
        """Tensors of the layer's types and widths, keys and values."""
        if layer.chunk is not None:
            return layer.chunk
        assert layer.history is not None
        return (layer.history[0].transpose(-1, -2), layer.history[1])

    def keep(self, slots: Tensor) -> None:
        """Keep only these slots (``[P']``), in this order."""
        self.shape = (len(slots), *self.shape[1:])
        self.states.keep(slots)
        for layer in self.segments:
            for name in ("prompt", "history", "chunk"):
                segment = getattr(layer, name)
                if segment is not None:
                    dim = 1 if name == "chunk" else 0
                    setattr(layer, name, tuple(x.index_select(dim, slots.to(x.device)) for x in segment))

    def bytes(self) -> dict[str, int]:
        """Bytes held by each segment, and by recurrent states where there are any."""
        held = {
            name: sum(x.nbytes for layer in self.segments for x in (getattr(layer, name) or ()))
            for name in ("prompt", "history", "chunk")
        }
        states = sum(x.nbytes for x in self.states.tensors())
        return held | {"states": states} if states else held

    def chunk_columns(self, n: int) -> int:
        """Columns of the chunk that a pass of n tokens attends to."""
        if self.now.kind == "peek":
            return self.now.offset
        if self.now.kind != "chunk":
            return 0
        return self.columns if self.now.column is not None else self.now.offset + n

    def begin(self, now: Pass) -> None:
        """A forward pass starts: this is what it does."""
        self.now, self._masks, self.written = now, {}, 0
        self.layers = self.states.begin(now.kind, now.inside, now.offset)

    def end(self) -> None:
        """The forward pass is over."""
        self.states.end(self.now.kind, self.now.slots, self.now.inside, self.now.offset)

    def mask(self, rule: MaskRule | None, columns: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Additive mask ``[rows, n, prompt + history + chunk columns]`` of the current pass."""
        key = (rule, device, dtype)
        if key not in self._masks:
            now = self.now
            assert now.prompt_lengths is not None
            assert now.starts is not None
            query = now.positions[:, :, None]
            lengths, starts = now.prompt_lengths[:, None, None], now.starts[:, None, None]
            j = torch.arange(max(now.prompt, now.history, columns), device=query.device)
            inside = [(j[: now.prompt] < lengths).expand(-1, query.shape[1], -1)]
            where = [j[: now.prompt].expand_as(inside[0])]
            if now.history:
                inside.append((j[: now.history] < starts).expand(-1, query.shape[1], -1))
                where.append((lengths + j[: now.history]).expand_as(inside[-1]))
            if columns:
                where.append((lengths + starts + j[:columns]).expand(-1, query.shape[1], -1))
                inside.append(torch.ones_like(where[-1], dtype=torch.bool))
            valid, places = torch.cat(inside, -1), torch.cat(where, -1)
            valid = valid & (places <= query)
            if rule is not None:
                valid = valid & rule(query, places)
            mask = torch.zeros(valid.shape, dtype=dtype, device=valid.device)
            self._masks[key] = mask.masked_fill_(~valid, torch.finfo(dtype).min).to(device)
        return self._masks[key]


def _scatter(history: Pair, new: Sequence[Tensor], at: Tensor) -> None:
    """Write ``new [P, H, S, n, D]`` keys and values at the columns ``at [P, 1, S, n, 1]`` of a history segment."""
    keys, values = history
    values.scatter_(3, at.to(values.device).expand_as(new[1]), new[1])
    new_keys = new[0].transpose(-1, -2)
    keys.scatter_(4, at.to(keys.device).transpose(-1, -2).expand_as(new_keys), new_keys)
