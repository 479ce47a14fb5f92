"""One key-value cache in three segments, which `guiders.attention` reads together.

Rows of a guided search share most of what they attend to. The cache keeps each shared part once:

- the *prompt* segment, one copy per slot (a prompt being decoded): ``[P, H, T, D]``;
- the *history* segment, one copy per surviving hypothesis: ``[P, S, H, T, D]``;
- the *chunk* segment, one copy per row (successor of a survivor): ``[P, S, K, H, T, D]``.

A forward pass is of one of three kinds: ``prefill`` (rows are new prompts, written to the prompt segment), ``history``
(rows are survivors) and ``chunk`` (rows are successors).
"""

from dataclasses import dataclass

import torch
from transformers.cache_utils import Cache, DynamicLayer


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
            at = (now.starts - 1).view(-1, 1, 1, 1)
            for segment, new in zip(layer.history, pair, strict=True):
                segment.view(-1, *segment.shape[2:]).scatter_(2, at.to(new.device).expand_as(new), new)
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

    def begin(self, now: Pass) -> None:
        """A forward pass starts: this is what it does."""
        self.now, self._masks = now, {}

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
