"""The law of peeks: what a lane reads and does not keep is what a text with it would say, and leaves no trace."""

from collections.abc import Sequence
from itertools import product

import torch

from guiders.kv.exclusive import exclusive
from guiders.kv.lane import Lane
from guiders.models.lm import LM


@torch.inference_mode()
def peeks_leave_no_trace(
    lm: LM, prompts: Sequence[list[int]], tokens: torch.Tensor, length: int, m: int, tolerance: float = 1e-6
) -> None:
    """Of two lanes that read the same rows, one peeks at m alternatives before every token: both put out the same
    logits, to the bit, and the peeks' are those of whole texts without a cache.

    Args:
        prompts: one for each slot, in ids. tokens: ``[P, S, K, n]`` the rows' responses. At a boundary the survivors
            are the rows of the chunk before, from the last to the first.
        length: of a chunk.

    Raises:
        AssertionError: one differs.
    """
    slots, survivors, successors, n = tokens.shape
    lanes = [Lane(lm, slots, survivors, successors, length) for _ in range(2)]
    for lane in lanes:
        lane.prefill(list(range(slots)), list(prompts))
    tokens = tokens.to(lm.device)
    rows = torch.arange(survivors * successors, device=lm.device).flip(0)[:survivors].expand(slots, -1)
    history = torch.zeros(slots, survivors, 0, dtype=torch.long, device=lm.device)
    for t in range(n):
        column = t % length
        if t and not column:
            chunk = tokens[..., t - length : t].flatten(1, 2)
            parents = rows // successors
            history = history.gather(1, parents[..., None].expand(-1, -1, history.shape[-1]))
            history = torch.cat([history, chunk.gather(1, rows[..., None].expand(-1, -1, length))], -1)
            for lane in lanes:
                lane.commit(parents, rows, torch.full_like(rows, length - 1), False)
                lane.advance(history[..., -1])
        stepped: list = (
            [lane.step(tokens[..., t - 1]) for lane in lanes] if column else [lane.next_logits for lane in lanes]
        )
        spread = successors if column else 1
        others = torch.arange(slots * survivors * spread * m, device=lm.device)
        others = (7 * others + t).view(slots, survivors, spread, m) % lm.config.vocab_size
        before = stepped[0].clone()
        peeked = lanes[0].peek(others)
        assert torch.equal(stepped[0], before), f"{lm.name}: a peek before token {t} wrote over the logits in hand"
        assert torch.equal(stepped[0], stepped[1]), f"{lm.name}: after a peek, the logits before token {t} differ"
        texts = [
            [*prompts[p], *history[p, s].tolist(), *tokens[p, s, k, t - column : t].tolist(), int(others[p, s, k, i])]
            for p, s, k, i in product(*map(range, others.shape))
        ]
        longest = max(map(len, texts))  # causal models don't see what comes after: padding on the right needs no mask
        batch = torch.tensor([text + [0] * (longest - len(text)) for text in texts], device=lm.device)
        with exclusive(lm.model):
            whole = lm.model(input_ids=batch, use_cache=False).logits
        last = torch.tensor([len(text) - 1 for text in texts], device=lm.device)
        expected = whole[torch.arange(len(texts), device=lm.device), last].view_as(peeked)
        worst = float((peeked - expected).abs().max() / (1 + expected.abs().max()))
        assert worst <= tolerance, f"{lm.name}: peeks before token {t} and whole texts differ by {worst:.1e}"
