"""Attention to the three segments of a cache at once.

Keys and values are read once per shared copy, by all rows that share them, and one softmax runs over all segments.
It is one of transformers' attention functions, so that no architecture is rewritten.
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
        parts = [
            _prefill_attention(*(x[:, :, start:stop] for x in (query, key, value)), scaling, sliding_window, softcap)
            for start, stop in cache.now.spans
        ]
        return torch.cat(parts, 1), None
    return _shared_attention(cache, query, scaling, sliding_window, softcap), None


def _prefill_attention(query, key, value, scaling, window, softcap):
    """Causal attention within one prompt: ``[1, heads, n, D]`` -> ``[1, n, heads, D]``."""
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
    successors = successors if now.kind == "chunk" else 1
    rows, heads, n, width = query.shape
    kv_heads = layer.prompt[0].shape[1]
    groups = heads // kv_heads  # query heads of one key-value head are rows of one product, as are the new tokens
    each = groups * n
    shape = (slots, kv_heads, survivors, successors, each)
    columns = cache.chunk_columns(n)

    query = query.view(slots, survivors, successors, kv_heads, groups, n, width).permute(0, 3, 1, 2, 4, 5, 6)
    query = torch.mul(query, scaling, out=query.new_empty(query.shape)).view(*shape, width)
    of_slot, of_survivor = (slots, kv_heads, -1), (slots, kv_heads, survivors, successors * each)
    scores = [(query.view(*of_slot, width) @ layer.prompt[0][..., : now.prompt]).view(*shape, -1)]
    if now.history:
        scores.append((query.view(*of_survivor, width) @ layer.history[0][..., : now.history]).view(*shape, -1))
    if columns:
        scores.append(query @ layer.chunk[0][:columns].movedim(0, -1))
    scores = torch.cat(scores, -1)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    mask = cache.mask(window, columns, scores.device, scores.dtype)
    scores.view(*shape[:-1], groups, n, -1).add_(mask.view(slots, 1, survivors, successors, 1, n, -1))
    weights = _softmax(scores, query.dtype)

    start = now.prompt
    prompt = weights[..., :start].flatten(2, 4) @ layer.prompt[1][:, :, :start]
    output = prompt.view(*shape, -1)
    if now.history:
        stop = start + now.history
        history = weights[..., start:stop].flatten(3, 4) @ layer.history[1][..., : now.history, :]
        output += history.view(*shape, -1)
        start = stop
    if columns:
        _add_mixed(output, weights[..., start:], layer.chunk[1][:columns])
    output = output.view(*shape[:-1], groups, n, -1).permute(0, 2, 3, 5, 1, 4, 6)
    return output.reshape(rows, n, heads, -1)


def _add_mixed(output, weights, values):
    """``output += weights @ values`` for weights ``[..., m, c]`` and values ``[c, ..., D]``.

    A CPU has thousands of these products, of one row by few columns. Below 400 multiplications torch does them one at a
    time, in a plain loop; a column of all of them at once takes a third of that.
    """
    if output.device.type == "cpu" and weights.shape[-2:].numel() * values.shape[-1] < 400:
        for column, value in enumerate(values.unsqueeze(-2)):
            output.addcmul_(weights[..., column : column + 1], value)
    else:
        output += weights @ values.movedim(0, -2)
