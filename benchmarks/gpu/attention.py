"""Ways to attend to three segments at once: prompts shared by a slot's rows, histories by a survivor's, chunks by none.

All take the same `Problem` and give ``[P, H, S, K, g, D]``, the heads of keys apart from the g query heads of each.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch.nn.functional import scaled_dot_product_attention


@dataclass(frozen=True)
class Problem:
    """One step of P slots, S survivors and K successors.

    Attributes:
        query: ``[P, H, S, K, g, D]``. prompt: keys and values ``[P, H, T, D]``. history: ``[P, H, S, T, D]``.
        chunk: ``[P, H, S, K, T, D]``. prompt_lengths: ``[P]`` and history_lengths: ``[P, S]`` columns that are seen;
        of the chunk, all are.
    """

    query: torch.Tensor
    prompt: tuple[torch.Tensor, torch.Tensor]
    history: tuple[torch.Tensor, torch.Tensor]
    chunk: tuple[torch.Tensor, torch.Tensor]
    prompt_lengths: torch.Tensor
    history_lengths: torch.Tensor

    def float(self) -> "Problem":
        """The same numbers in float32."""
        prompt, history, chunk = ((k.float(), v.float()) for k, v in (self.prompt, self.history, self.chunk))
        return replace(self, query=self.query.float(), prompt=prompt, history=history, chunk=chunk)


def problem(
    slots: int, heads: int, groups: int, width: int, sizes: tuple[int, int, int], dtype, device, beam: tuple[int, int]
) -> Problem:
    """Random numbers, and lengths between half of a segment and all of it.

    Args:
        heads: of keys. sizes: columns of the prompt, the history and the chunk. beam: S and K.
    """
    draws = torch.Generator(device="cpu").manual_seed(0)
    survivors, successors = beam
    of_prompt, of_history, of_chunk = sizes

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=dtype, device=device)

    def lengths(most: int, *shape: int) -> torch.Tensor:
        return torch.randint(max(1, most // 2), most + 1, shape, generator=draws).to(device)

    leading = (slots, heads)
    return Problem(
        random(*leading, survivors, successors, groups, width),
        (random(*leading, of_prompt, width), random(*leading, of_prompt, width)),
        (random(*leading, survivors, of_history, width), random(*leading, survivors, of_history, width)),
        (
            random(*leading, survivors, successors, of_chunk, width),
            random(*leading, survivors, successors, of_chunk, width),
        ),
        lengths(of_prompt, slots),
        lengths(of_history, slots, survivors),
    )


def prepare_segments(p: Problem) -> Callable[[], torch.Tensor]:
    """The decoder's way (`guiders.kv.attention`): a product for each segment, one softmax over all scores."""
    # prompts' and histories' keys are kept transposed, and a chunk's columns come first
    keys = [p.prompt[0].transpose(-1, -2).contiguous(), p.history[0].transpose(-1, -2).contiguous()]
    chunk = [x.movedim(-2, 0).contiguous() for x in p.chunk]
    slots, _, survivors, successors, _, width = p.query.shape
    mask = torch.cat([seen.expand(slots, 1, survivors, successors, 1, -1) for seen in _seen(p)], -1)
    mask = torch.zeros(mask.shape, dtype=p.query.dtype, device=mask.device).masked_fill_(~mask, -1e9)
    bounds = [p.prompt[1].shape[-2], p.prompt[1].shape[-2] + p.history[1].shape[-2]]

    def run() -> torch.Tensor:
        query = p.query * width**-0.5
        scores = [
            (query.flatten(2, 4) @ keys[0]).view(*query.shape[:-1], -1),
            (query.flatten(3, 4) @ keys[1]).view(*query.shape[:-1], -1),
            query @ chunk[0].movedim(0, -1),
        ]
        weights = torch.cat(scores, -1).add_(mask).softmax(-1, dtype=torch.float32).to(query.dtype)
        of_prompt, of_history, of_chunk = weights.tensor_split(bounds, -1)
        output = (of_prompt.flatten(2, 4) @ p.prompt[1]).view(query.shape)
        output = output + (of_history.flatten(3, 4) @ p.history[1]).view(query.shape)
        return output + of_chunk @ chunk[1].movedim(0, -2)

    return run


def prepare_copies(p: Problem) -> Callable[[], torch.Tensor]:
    """torch's attention over a copy of everything for each row, as a flat cache holds it."""
    slots, heads, survivors, successors, groups, width = p.query.shape
    wide = [(p.prompt[i][:, :, None, None], p.history[i][:, :, :, None], p.chunk[i]) for i in (0, 1)]
    leading = (slots, heads, survivors, successors)
    keys, values = (
        torch.cat([x.expand(*leading, -1, -1) for x in one], -2).permute(0, 2, 3, 1, 4, 5).flatten(0, 2).contiguous()
        for one in wide
    )
    seen = torch.cat([x.expand(slots, 1, survivors, successors, 1, -1) for x in _seen(p)], -1)
    mask = seen.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    query = p.query.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)

    def run() -> torch.Tensor:
        output = scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        return output.view(slots, survivors, successors, heads, groups, width).permute(0, 3, 1, 2, 4, 5)

    return run


Partial = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def prepare_merged(p: Problem, partial: Partial) -> Callable[[], torch.Tensor]:
    """A kernel for each segment, merged by the logarithms of their normalisers.

    Args:
        partial: ``(query [B, H, n, D], keys [B, H, T, D], values, lengths [B])`` -> ``(output, lse [B, H, n])``.
    """
    slots, heads, survivors, successors, groups, width = p.query.shape
    each = successors * groups

    def by_survivor(x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2).flatten(0, 1)

    history = [by_survivor(x).contiguous() for x in p.history]
    chunk = [x.permute(0, 2, 3, 1, 4, 5).flatten(0, 2).contiguous() for x in p.chunk]
    whole = torch.full((len(chunk[0]),), chunk[0].shape[-2], device=p.query.device)

    def run() -> torch.Tensor:
        rows = p.query.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        outputs, sums = [], []
        one, lse = partial(p.query.flatten(2, 4), *p.prompt, p.prompt_lengths)
        outputs.append(one.view(p.query.shape))
        sums.append(lse.view(p.query.shape[:-1]))
        one, lse = partial(by_survivor(p.query.flatten(3, 4)), history[0], history[1], p.history_lengths.flatten())
        outputs.append(one.view(slots, survivors, heads, each, width).transpose(1, 2).reshape(p.query.shape))
        sums.append(lse.view(slots, survivors, heads, each).transpose(1, 2).reshape(p.query.shape[:-1]))
        one, lse = partial(rows, chunk[0], chunk[1], whole)
        outputs.append(one.view(slots, survivors, successors, heads, groups, width).permute(0, 3, 1, 2, 4, 5))
        sums.append(lse.view(slots, survivors, successors, heads, groups).permute(0, 3, 1, 2, 4))
        weights = torch.stack(sums).softmax(0)
        return sum((w[..., None].to(o.dtype) * o for w, o in zip(weights, outputs, strict=True)), 0 * outputs[0])

    return run


def plain_partial(query, keys, values, lengths):
    """By products and a softmax; on any device."""
    scores = (query @ keys.transpose(-1, -2)).float() * query.shape[-1] ** -0.5
    seen = torch.arange(keys.shape[-2], device=keys.device) < lengths.view(-1, 1, 1, 1)
    scores = scores.masked_fill(~seen, float("-inf"))
    return scores.softmax(-1).to(values.dtype) @ values, scores.logsumexp(-1)


def efficient_partial(query, keys, values, lengths):
    """The memory-efficient kernel that torch ships, lengths as a bias."""
    n, columns = query.shape[2], keys.shape[2]
    seen = torch.arange(columns, device=keys.device) < lengths.view(-1, 1, 1, 1)
    # the kernel wants rows of a bias aligned to 16 bytes
    bias = torch.zeros(len(keys), 1, 1, columns + -columns % 8, dtype=query.dtype, device=keys.device)[..., :columns]
    bias = bias.masked_fill(~seen, torch.finfo(query.dtype).min).expand(-1, query.shape[1], n, -1)
    output, lse, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(query, keys, values, bias, True)
    return output, lse[..., :n]


def flash_partial(query, keys, values, lengths):
    """The flash kernel that torch ships, on texts of unlike lengths."""
    texts, heads, n, width = query.shape
    columns = keys.shape[2]
    packed = [x.transpose(1, 2).reshape(-1, heads, width) for x in (query, keys, values)]
    starts = [torch.arange(0, texts * size + 1, size, dtype=torch.int32, device=keys.device) for size in (n, columns)]
    options = {"scale": width**-0.5, "seqused_k": lengths.to(torch.int32)}
    output, lse, *_ = torch.ops.aten._flash_attention_forward(
        *packed, *starts, n, columns, 0.0, False, False, **options
    )
    if lse.dim() == 2:  # [H, all rows], from torch 2.5 on
        lse = lse.view(heads, texts, n).transpose(0, 1)
    return output.view(texts, n, heads, width).transpose(1, 2), lse[..., :n]


def prepare_flex(p: Problem) -> Callable[[], torch.Tensor]:
    """FlexAttention over the segments laid end to end, blocks that a row does not see left out."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    slots, heads, survivors, successors, groups, width = p.query.shape
    prompt, history, chunk = (one[0].shape[-2] for one in (p.prompt, p.history, p.chunk))
    keys, values = (
        torch.cat([p.prompt[i], p.history[i].flatten(2, 3), p.chunk[i].flatten(2, 4)], 2).contiguous() for i in (0, 1)
    )
    query = p.query.permute(0, 1, 4, 2, 3, 5).reshape(slots, heads * groups, survivors * successors, width)
    of_prompt, of_history = p.prompt_lengths, p.history_lengths

    def seen(slot, head, row, column):
        at = column - prompt
        survivor = at // history
        owner = row // successors
        in_history = (
            (at >= 0) & (survivor == owner) & (at % history < of_history[slot, survivor.clamp(0, survivors - 1)])
        )
        after = at - survivors * history
        return (column < of_prompt[slot]) | in_history | ((after >= 0) & (after // chunk == row))

    mask = create_block_mask(seen, slots, None, survivors * successors, keys.shape[2], device=keys.device)
    compiled = torch.compile(flex_attention, dynamic=False)

    def run() -> torch.Tensor:
        output = compiled(query, keys, values, block_mask=mask, enable_gqa=True)
        return output.view(slots, heads, groups, survivors, successors, width).permute(0, 1, 3, 4, 2, 5)

    return run


def _seen(p: Problem) -> list[torch.Tensor]:
    """Which columns of each segment a row sees: ``[P, 1, S or 1, 1, 1, T]``, and of the chunk ones."""

    def up_to(columns: int, lengths: torch.Tensor) -> torch.Tensor:
        return torch.arange(columns, device=lengths.device) < lengths[..., None]

    prompt = up_to(p.prompt[0].shape[-2], p.prompt_lengths)[:, None, None, None, None]
    history = up_to(p.history[0].shape[-2], p.history_lengths)[:, None, :, None, None]
    return [prompt, history, prompt.new_ones(1, 1, 1, 1, 1, p.chunk[0].shape[-2])]
