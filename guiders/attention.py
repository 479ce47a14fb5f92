"""Attention to the three segments of a cache at once.

Scores are computed once per shared copy of a key, one softmax runs over all segments, and values are read once per
shared copy. It is one of transformers' attention functions, so that no architecture is rewritten.
"""

from contextlib import contextmanager

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from guiders.cache import Pass, SegmentCache
from guiders.errors import GuiderError

NAME = "guiders_segments"
_active: list[SegmentCache] = []


@contextmanager
def attending(model: torch.nn.Module, cache: SegmentCache, now: Pass):
    """Run a forward pass of `model` with this cache: its attention is ours inside, its own outside."""
    AttentionInterface.register(NAME, segment_attention)
    configs = {id(m.config): m.config for m in (model, getattr(model, "backbone", model))}.values()
    before = [config._attn_implementation for config in configs]
    cache.begin(now)
    _active.append(cache)
    try:
        for config in configs:
            config._attn_implementation = NAME
        yield
    finally:
        _active.pop()
        for config, name in zip(configs, before, strict=True):
            config._attn_implementation = name


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
    return output.reshape(rows, heads, n, -1).transpose(1, 2)
