"""One key-value cache in three segments, and the attention that reads all three together.

Rows of a guided search share most of what they attend to. The cache keeps each shared part once:

- the *prompt* segment, one copy per slot (a prompt being decoded): ``[P, H, T, D]``;
- the *history* segment, one copy per surviving hypothesis: ``[P, S, H, T, D]``;
- the *chunk* segment, one copy per row (successor of a survivor): ``[P, S, K, H, T, D]``.

``segment_attention`` is registered with transformers' ``AttentionInterface``, so that no architecture is rewritten.
A forward
pass runs inside ``SegmentCache.attending`` and is of one of three kinds: ``prefill`` (rows are new prompts, written
to the prompt segment), ``history`` (rows are survivors) and ``chunk`` (rows are successors).
"""

from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.cache_utils import Cache, DynamicLayer

from guiders.errors import GuiderError

ATTENTION = "guiders_segments"
_active: list["SegmentCache"] = []


@dataclass
class Pass:
    """What one forward pass does: its kind, the rows it writes and where their new tokens stand.

    Attributes:
        kind: "prefill", "history" or "chunk".
        slots: ``[n]`` the slots written by a prefill.
        offset: the first column written (prefill and chunk).
        positions: ``[rows, n]`` absolute positions of the new tokens.
        starts: ``[rows]`` tokens of the history that each row attends to (history: including the new one).
        prompt_lengths: ``[rows]``.
        history: columns of the history segment that any row reads.
    """

    kind: str
    positions: torch.Tensor
    slots: torch.Tensor | None = None
    offset: int = 0
    starts: torch.Tensor | None = None
    prompt_lengths: torch.Tensor | None = None
    history: int = 0


class _Layer:
    """The three segments of one layer; each is ``(keys, values)`` or None until first written."""

    def __init__(self):
        self.prompt: tuple[torch.Tensor, torch.Tensor] | None = None
        self.history: tuple[torch.Tensor, torch.Tensor] | None = None
        self.chunk: tuple[torch.Tensor, torch.Tensor] | None = None


class SegmentCache(Cache):
    """The key-value cache of one model for P slots of S survivors with K successors each.

    Args:
        slots, survivors, successors: P, S and K.
        columns: tokens of a chunk that a row may hold.
        fixed: write the reordered history where the old one lay (one more copy), so that graphs can be replayed.
    """

    def __init__(self, slots: int, survivors: int, successors: int, columns: int, fixed: bool = False):
        super().__init__(layer_class_to_replicate=DynamicLayer)
        self.shape = (slots, survivors, successors)
        self.columns = columns
        self.fixed = fixed
        self.segments: list[_Layer] = []
        self.now: Pass | None = None
        self.current = 0
        self._masks: dict = {}

    # What transformers asks of a cache. Positions are always given, so lengths are never read from here.
    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        return query_length, 0

    def update(self, key_states, value_states, layer_idx, *args, **kwargs):
        """Write the new keys and values ``[rows, H, n, D]`` of a layer where the pass says."""
        while len(self.segments) <= layer_idx:
            self.segments.append(_Layer())
        self.current = layer_idx
        layer, now = self.segments[layer_idx], self.now
        pair = (key_states, value_states)
        n = key_states.shape[2]
        if now.kind == "prefill":
            layer.prompt = self._room(layer.prompt, self.shape[:1], pair, n)
            for segment, new in zip(layer.prompt, pair, strict=True):
                segment[now.slots, :, :n] = new
        elif now.kind == "history":
            layer.history = self._room(layer.history, self.shape[:2], pair, now.history)
            # survivors of one slot can differ in length: each writes at its own end
            at = (now.starts - 1).view(-1, 1, 1, 1).expand(-1, key_states.shape[1], 1, key_states.shape[3])
            for segment, new in zip(layer.history, pair, strict=True):
                segment.view(-1, *segment.shape[2:]).scatter_(2, at.to(new.device), new)
        else:
            layer.chunk = self._room(layer.chunk, self.shape, pair, max(self.columns, now.offset + n))
            for segment, new in zip(layer.chunk, pair, strict=True):
                segment.view(-1, *segment.shape[3:])[:, :, now.offset : now.offset + n] = new
        return pair

    @staticmethod
    def _room(segment, leading, pair, length):
        """The segment with at least `length` columns, grown by half as much again so that growing is rare."""
        if segment is not None and segment[0].shape[-2] >= length:
            return segment
        grown = []
        for index, new in enumerate(pair):
            capacity = length if segment is None else max(length, segment[0].shape[-2] * 3 // 2)
            # zeros, not garbage: masked columns still enter the products, and 0 * NaN is NaN
            room = new.new_zeros(*leading, new.shape[1], capacity, new.shape[3])
            if segment is not None:
                room[..., : segment[index].shape[-2], :] = segment[index]
            grown.append(room)
        return tuple(grown)

    def commit(self, parents, rows, columns: int, starts, history: int, identity: bool) -> None:
        """Make the chosen rows the survivors: their parents' history, then the row's chunk.

        Args:
            parents: ``[P, S]`` the survivor each chosen row came from; rows: ``[P, S]`` the row's place among the S·K.
            columns: tokens of the chunk to take over (columns past a row's own count are written and never read).
            starts: ``[P, S]`` the parent's history length. history: columns the history segment must hold afterwards.
            identity: no reordering is needed (every survivor goes on as its own only successor).
        """
        p = self.shape[0]
        slot = torch.arange(p, device=parents.device)[:, None]
        for layer in self.segments:
            if layer.chunk is None and layer.history is None:
                continue
            source = layer.chunk or layer.history
            sample = tuple(x.view(-1, *x.shape[-3:]) for x in source)
            layer.history = self._room(layer.history, self.shape[:2], sample, history)
            device = source[0].device
            index, chosen, at = slot.to(device), rows.to(device), starts.to(device)
            moved = []
            for which, segment in enumerate(layer.history):
                if not identity:
                    segment = segment[index, parents.to(device)]
                if columns and layer.chunk is not None:
                    new = layer.chunk[which].flatten(1, 2)[index, chosen][..., :columns, :]
                    where = at[:, :, None] + torch.arange(columns, device=device)
                    where = where.clamp_(max=segment.shape[-2] - 1)[:, :, None, :, None].expand_as(new)
                    segment.scatter_(3, where, new)
                moved.append(segment)
            if self.fixed and not identity:
                moved = [old.copy_(new) for old, new in zip(layer.history, moved, strict=True)]
            layer.history = tuple(moved)

    def keep(self, slots: torch.Tensor) -> None:
        """Keep only these slots (``[P']``), in this order."""
        self.shape = (len(slots), *self.shape[1:])
        for layer in self.segments:
            for name in ("prompt", "history", "chunk"):
                segment = getattr(layer, name)
                if segment is not None:
                    setattr(layer, name, tuple(x[slots.to(x.device)] for x in segment))

    def bytes(self) -> dict[str, int]:
        """Bytes held by each segment."""
        return {
            name: sum(x.nbytes for layer in self.segments for x in (getattr(layer, name) or ()))
            for name in ("prompt", "history", "chunk")
        }

    @contextmanager
    def attending(self, model: torch.nn.Module, now: Pass):
        """Run a forward pass of `model` with this cache: its attention is ours inside, its own outside."""
        configs = {id(m.config): m.config for m in (model, getattr(model, "backbone", model))}.values()
        before = [config._attn_implementation for config in configs]
        self.now, self._masks = now, {}
        _active.append(self)
        try:
            for config in configs:
                config._attn_implementation = ATTENTION
            yield
        finally:
            _active.pop()
            for config, name in zip(configs, before, strict=True):
                config._attn_implementation = name

    def mask(self, window: int | None, columns: int, device, dtype) -> torch.Tensor:
        """Additive mask ``[rows, 1, 1, n, prompt + history + chunk columns]`` of the current pass."""
        key = (window, device, dtype)
        if key not in self._masks:
            now = self.now
            prompt = self.segments[self.current].prompt[0].shape[-2]
            query = now.positions[:, :, None]
            lengths, starts = now.prompt_lengths[:, None, None], now.starts[:, None, None]
            j = torch.arange(max(prompt, now.history, columns), device=query.device)
            valid = [(j[:prompt] < lengths).expand(-1, query.shape[1], -1)]
            places = [j[:prompt].expand_as(valid[0])]
            if now.history:
                valid.append((j[: now.history] < starts).expand(-1, query.shape[1], -1))
                places.append((lengths + j[: now.history]).expand_as(valid[-1]))
            if columns:
                places.append((lengths + starts + j[:columns]).expand(-1, query.shape[1], -1))
                valid.append(torch.ones_like(places[-1], dtype=torch.bool))
            valid, places = torch.cat(valid, -1), torch.cat(places, -1)
            valid = valid & (places <= query)
            if window is not None:
                valid &= places > query - window
            mask = torch.zeros(valid.shape, dtype=dtype, device=valid.device)
            self._masks[key] = mask.masked_fill_(~valid, torch.finfo(dtype).min)[:, None, None].to(device)
        return self._masks[key]


def segment_attention(
    module,
    query,
    key,
    value,
    attention_mask=None,
    scaling=None,
    sliding_window=None,
    softcap=None,
    s_aux=None,
    **kwargs,
):
    """Attention of ``query [rows, heads, n, D]`` to the three segments of the active cache.

    Returns ``(output [rows, n, heads, D], None)``, as transformers' attention functions do.

    Raises:
        GuiderError: the architecture asks for attention sinks, which are not kept in the segments.
    """
    if s_aux is not None:
        raise GuiderError(
            "this architecture uses attention sinks, which guided decoding can't cache; choose another model"
        )
    cache = _active[-1]
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if cache.now.kind == "prefill":
        return _prefill_attention(query, key, value, scaling, sliding_window, softcap), None
    return _shared_attention(cache, query, scaling, sliding_window, softcap), None


def _prefill_attention(query, key, value, scaling, window, softcap):
    """Causal attention within right-padded prompts: pads come last, so no real token attends to one."""
    n = query.shape[2]
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    if softcap is None and (window is None or window >= n):
        return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling).transpose(1, 2)
    i = torch.arange(n, device=query.device)
    valid = i[None] <= i[:, None]
    if window is not None:
        valid &= i[None] > i[:, None] - window
    scores = query @ key.transpose(-1, -2) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~valid, torch.finfo(scores.dtype).min)
    return (_softmax(scores, value.dtype) @ value).transpose(1, 2)


def _softmax(scores, dtype):
    wide = torch.float32 if scores.dtype in (torch.bfloat16, torch.float16) else scores.dtype
    return scores.softmax(-1, dtype=wide).to(dtype)


def _shared_attention(cache, query, scaling, window, softcap):
    """Scores against each segment once per shared copy, one softmax over all of them."""
    layer, now = cache.segments[cache.current], cache.now
    slots, survivors, successors = cache.shape
    rows, heads, n, width = query.shape
    kv_heads = layer.prompt[0].shape[1]
    folded = heads // kv_heads * n  # query heads of one key-value head, and the new tokens, ride in one dimension
    query = (query * scaling).reshape(rows, kv_heads, folded, width)
    parts = [(layer.prompt, slots, slice(None))]
    if now.history:
        parts.append((layer.history, slots * survivors, slice(now.history)))
    columns = now.offset + n if now.kind == "chunk" else 0
    if columns:
        parts.append((layer.chunk, slots * survivors * successors, slice(columns)))

    def together(x, copies):  # [rows, H, f, D] -> [copies, H, rows per copy * f, D]
        per = rows // copies
        if per == 1:
            return x
        return x.view(copies, per, *x.shape[1:]).transpose(1, 2).reshape(copies, kv_heads, per * folded, -1)

    def apart(x, copies):
        per = rows // copies
        if per == 1:
            return x
        return x.view(copies, kv_heads, per, folded, -1).transpose(1, 2).reshape(rows, kv_heads, folded, -1)

    flat = [
        tuple(segment.view(copies, *segment.shape[-3:])[:, :, cut] for segment in pair) for pair, copies, cut in parts
    ]
    scores = torch.cat(
        [
            apart(together(query, copies) @ keys.transpose(-1, -2), copies)
            for (keys, _), (_, copies, _) in zip(flat, parts, strict=True)
        ],
        -1,
    )
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    mask = cache.mask(window, columns, scores.device, scores.dtype)
    scores = scores.view(rows, kv_heads, -1, n, scores.shape[-1]) + mask
    weights = _softmax(scores, query.dtype).view(rows, kv_heads, folded, -1)
    output, start = 0, 0
    for (_, values), (_, copies, _) in zip(flat, parts, strict=True):
        length = values.shape[-2]
        output = output + apart(together(weights[..., start : start + length], copies) @ values, copies)
        start += length
    return output.reshape(rows, heads, n, width).transpose(1, 2)


AttentionInterface.register(ATTENTION, segment_attention)
