"""Attention to the three segments of a cache at once.

Keys and values are read once per shared copy, by all rows that share them, and one softmax runs over all segments.
It is one of transformers' attention functions, so that no architecture is rewritten; which tokens a layer sees (a
window, chunks) is read from the mask that the model itself makes, in a form that can be asked about any position.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import starmap
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from guiders.errors import GuiderError
from guiders.kv.exclusive import configurations, exclusive
from guiders.kv.masks import MaskRule, segment_mask
from guiders.kv.passes import Pass
from guiders.kv.segments import Layer, Pair, SegmentCache

NAME = "guiders_segments"
# what architectures hand to an attention function that changes nothing of what it gives
WITHOUT_EFFECT = {
    "dropout",
    "is_causal",
    "position_ids",
    "cache_position",
    "use_cache",
    "logits_to_keep",
    "return_dict",
}
WITHOUT_EFFECT |= {"return_dict", "output_attentions", "output_hidden_states", "output_router_logits"}
# transformers hands no cache to an attention function: the pass that runs in this thread leaves its own here
_active: ContextVar[SegmentCache] = ContextVar("guiders_active_cache")


@contextmanager
def attending(model: torch.nn.Module, cache: SegmentCache, now: Pass) -> Iterator[None]:
    """Run a forward pass of `model` with this cache: its attention is ours inside, its own outside. Other threads wait
    for their turn with this model."""
    AttentionInterface.register(NAME, segment_attention)
    AttentionMaskInterface.register(NAME, segment_mask)
    with exclusive(model):
        configs = configurations(model)
        before = [config._attn_implementation for config in configs]
        cache.begin(now)
        outer = _active.set(cache)
        try:
            for config in configs:
                config._attn_implementation = NAME
            yield
            cache.end()
        finally:
            _active.reset(outer)
            for config, name in zip(configs, before, strict=True):
                config._attn_implementation = name


def segment_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: MaskRule | torch.Tensor | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **kwargs: object,
) -> tuple[torch.Tensor, None]:
    """Attention of ``query [rows, heads, n, D]`` to the three segments of the active cache.

    The new keys and values are written to the cache here, where they are what is attended to: an architecture that
    caches something else, from which it makes them (multi-head latent attention), gives them no sooner.

    Args:
        attention_mask: what `segment_mask` gave, which says what is seen; None: all that came before.
        sliding_window: of those that make no mask by transformers' functions.
        s_aux: ``[heads]`` logits of a sink, which takes part in the softmax and has no value (gpt-oss).

    Returns ``(output [rows, n, heads, D], None)``, as transformers' attention functions do.

    Raises:
        GuiderError: the architecture asks for more than is known here.
    """
    if unknown := [name for name in kwargs.keys() - WITHOUT_EFFECT if kwargs[name] is not None]:
        raise GuiderError(f"its attention takes {min(unknown)!r}, which guided decoding doesn't know")
    rule = None if sliding_window is None else MaskRule.window(sliding_window)
    if attention_mask is not None:
        if not isinstance(attention_mask, MaskRule):
            raise GuiderError("it makes an attention mask of its own, which guided decoding can't read")
        rule = attention_mask
    cache = _active.get()
    layer = cache.write(key, value)
    if vars(module).get("attn_temperature_tuning") and not module.use_rope:
        query = _tempered(module, query, cache.now.positions)
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if cache.now.kind == "prefill":
        parts = [
            _prefill_attention(query[:, :, some], key[:, :, some], value[:, :, some], scaling, rule, softcap, s_aux)
            for some in starmap(slice, cache.now.spans)
        ]
        return torch.cat(parts, 1), None
    own = (key, value) if cache.now.kind == "peek" else None
    return _shared_attention(cache, layer, query, scaling, rule, softcap, s_aux, own), None


def _tempered(module: Any, query: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Llama 4 scales the queries of some layers by their position, which it counts from the cache's length or, where
    a cache has none, as here, from the beginning of the pass: the same by the position in the text."""

    def scale(at: torch.Tensor) -> torch.Tensor:
        return torch.log1p(torch.floor((at.float() + 1.0) / module.floor_scale)) * module.attn_scale + 1.0

    counted = torch.arange(positions.shape[1], device=positions.device)
    ratio = (scale(positions) / scale(counted))[:, None, :, None]
    return (query * ratio.to(query.device)).to(query.dtype)


def _prefill_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    rule: MaskRule | None,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Causal attention within one prompt: ``[1, heads, n, D]`` -> ``[1, n, heads, D]``."""
    n = query.shape[2]
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    # a prompt within one window, or within the first chunk, sees all of itself
    whole = rule is None or (rule.size is not None and rule.size >= n)
    if softcap is None and sinks is None and whole:
        return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling).transpose(1, 2)
    i = torch.arange(n, device=query.device)
    valid = i[None] <= i[:, None]
    if rule is not None and not whole:
        valid &= rule(i[None, :, None], i[None, None])[0]
    scores = query @ key.transpose(-1, -2) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~valid, torch.finfo(scores.dtype).min)
    if sinks is not None:
        scores = torch.cat([scores, sinks.to(scores).view(1, -1, 1, 1).expand(1, -1, n, 1)], -1)
    return (_softmax(scores, value.dtype)[..., :n] @ value).transpose(1, 2)


def _softmax(scores: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    wide = torch.float32 if scores.dtype in (torch.bfloat16, torch.float16) else scores.dtype
    return scores.softmax(-1, dtype=wide).to(dtype)


def _shared_attention(
    cache: SegmentCache,
    layer: Layer,
    query: torch.Tensor,
    scaling: float,
    rule: MaskRule | None,
    softcap: float | None,
    sinks: torch.Tensor | None,
    own: Pair | None = None,
) -> torch.Tensor:
    """Scores against each segment once per shared copy, one softmax over all of them.

    Args:
        own: keys and values ``[rows, H, n, D]`` that each new token alone sees beside the segments: its own, of a peek.
    """
    now, shared = cache.now, layer.prompt
    assert shared is not None  # a prompt is read first
    slots, survivors, successors = cache.shape
    successors = successors if now.kind == "chunk" or (now.kind == "peek" and now.offset) else 1
    rows, heads, n, width = query.shape
    kv_heads = shared[0].shape[1]
    groups = heads // kv_heads  # query heads of one key-value head are rows of one product, as are the new tokens
    each = groups * n
    shape = (slots, kv_heads, survivors, successors, each)
    columns = cache.chunk_columns(n)

    query = query.reshape(slots, survivors, successors, kv_heads, groups, n, width).permute(0, 3, 1, 2, 4, 5, 6)
    query = torch.mul(query, scaling, out=query.new_empty(query.shape)).view(*shape, width)
    of_slot, of_survivor = (slots, kv_heads, -1), (slots, kv_heads, survivors, successors * each)
    parts = [(query.view(*of_slot, width) @ shared[0][..., : now.prompt]).view(*shape, -1)]
    if now.history and layer.history:
        parts.append((query.view(*of_survivor, width) @ layer.history[0][..., : now.history]).view(*shape, -1))
    if columns and layer.chunk:
        parts.append(query @ layer.chunk[0][:columns].movedim(0, -1))
    if own is not None:
        own_keys, own_values = (x.reshape(slots, survivors, successors, kv_heads, 1, n, -1).movedim(3, 1) for x in own)
        parts.append((query.view(*shape[:-1], groups, n, width) * own_keys).sum(-1).view(*shape, 1))
    scores = torch.cat(parts, -1)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    mask = cache.mask(rule, columns, scores.device, scores.dtype)
    if own is not None:
        mask = torch.nn.functional.pad(mask, (0, 1))
    scores.view(*shape[:-1], groups, n, -1).add_(mask.view(slots, 1, survivors, successors, 1, n, -1))
    if sinks is not None:
        sink = sinks.to(scores).view(1, kv_heads, 1, 1, groups, 1).expand(*shape[:-1], groups, n)
        scores = torch.cat([scores, sink.reshape(*shape, 1)], -1)
    weights = _softmax(scores, query.dtype)

    start = now.prompt
    prompt = weights[..., :start].flatten(2, 4) @ shared[1][:, :, :start]
    output = prompt.view(*shape, -1)
    if now.history and layer.history:
        stop = start + now.history
        history = weights[..., start:stop].flatten(3, 4) @ layer.history[1][..., : now.history, :]
        output += history.view(*shape, -1)
        start = stop
    if columns and layer.chunk:
        _add_mixed(output, weights[..., start : start + columns], layer.chunk[1][:columns])
        start += columns
    if own is not None:
        output += (weights[..., start].view(*shape[:-1], groups, n, 1) * own_values).view(*shape, -1)
    output = output.view(*shape[:-1], groups, n, -1).permute(0, 2, 3, 5, 1, 4, 6)
    return output.reshape(rows, n, heads, -1).contiguous()  # some architectures take a view of it


def _add_mixed(output: torch.Tensor, weights: torch.Tensor, values: torch.Tensor) -> None:
    """``output += weights @ values`` for weights ``[..., m, c]`` and values ``[c, ..., D]``.

    A CPU has thousands of these products, of one row by few columns. Below 400 multiplications torch does them one at a
    time, in a plain loop; a column of all of them at once takes a third of that.
    """
    if output.device.type == "cpu" and weights.shape[-2:].numel() * values.shape[-1] < 400:
        for column, value in enumerate(values.unsqueeze(-2)):
            output.addcmul_(weights[..., column : column + 1], value)
    else:
        output += weights @ values.movedim(0, -2)
