"""Log-probabilities of given continuations under the token-guided distribution."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from guiders.errors import GuiderError
from guiders.guider import Guider
from guiders.kv.full_logits import full_logits
from guiders.kv.lane import Lane
from guiders.kv.self_check import check_cacheable
from guiders.models.prompt import LongPrompt
from guiders.sampling import Sampling, signed_key
from guiders.token.guidance import Guidance, SoFar

Pair = tuple[object, Sequence[int]]
"""A context, in any form that `LM.encode_prompt` takes, and the base's token ids of its continuation."""


@dataclass(frozen=True)
class TokenLogProbs:
    """Attributes: log_probs: of every continuation token, in nats; is_greedy: is each the most likely one?;
    truncated: tokens of the context's beginning that were not read; of several models, the most."""

    log_probs: tuple[float, ...]
    is_greedy: bool
    truncated: int = 0

    @property
    def total(self) -> float:
        return sum(self.log_probs)


@torch.inference_mode()
def token_log_probs(guider: Guider, pairs: Sequence[Pair], on_long_prompt: str = "error") -> list[TokenLogProbs]:
    """Score continuations under ``log_softmax(logits_π + Σ_i w_i (log π_i⁺ − log π_i⁻))``, without temperature or cuts.

    Args:
        pairs: (context, continuation).
        on_long_prompt: "error", or "truncate": a context loses its beginning where both do not fit a model's context.

    Raises:
        GuiderError: the search makes the response's distribution one that can't be normalised; a text (under
            "truncate": a continuation) longer than a model's context.
    """
    if guider.chooses:
        raise GuiderError(
            f"{type(guider.search).__name__} has no normalised distribution to score text under; "
            "set search to sample (guider=base or guider=eft)"
        )
    for guide in guider.guides:
        if not getattr(guide, "normalised", True):
            raise GuiderError(f"{type(guide).__name__} has no normalised distribution to score text under")
    guider.check_heads()
    for lm in guider.models:
        check_cacheable(lm)
    for index, (_, continuation) in enumerate(pairs):
        if any(not 0 <= int(token) < guider.vocabulary for token in continuation):
            raise GuiderError(f"continuation {index} has an id outside of the vocabulary of {guider.vocabulary}")
    results: dict[int, TokenLogProbs] = {}
    for index, logits, truncated in _continuation_logits(guider, pairs, on_long_prompt == "truncate"):
        log_probs = logits.log_softmax(-1)
        tokens = torch.tensor(list(pairs[index][1]), dtype=torch.long, device=logits.device)
        chosen = log_probs.gather(-1, tokens[:, None])[:, 0]
        results[index] = TokenLogProbs(tuple(chosen.tolist()), bool((log_probs.argmax(-1) == tokens).all()), truncated)
    return [results[index] for index in range(len(pairs))]


def _continuation_logits(
    guider: Guider, pairs: Sequence[Pair], truncate: bool
) -> Iterator[tuple[int, torch.Tensor, int]]:
    """The guided logits ``[len(continuation), V]`` of every pair, a bounded number of pairs at a time, with the tokens
    that its context lost."""
    for at in range(0, len(pairs), 64):
        group = pairs[at : at + 64]
        lost = [0] * len(group)
        parts: list = []
        for lm in guider.models:
            inputs = []
            for index, (context, continuation) in enumerate(group):
                ids = lm.encode_prompt(context)
                room = lm.max_length + 1 - len(continuation)  # the last token is only predicted, never read
                if truncate and 0 < room < len(ids):
                    lost[index] = max(lost[index], len(ids) - room)
                    ids = ids[-room:]
                ids = ids + list(continuation)
                if len(ids) - 1 > lm.max_length:
                    raise GuiderError(
                        f"{lm.name}: a text of {len(ids)} tokens is longer than its context of {lm.max_length}; "
                        "shorten it"
                    )
                inputs.append(ids[:-1] if continuation else ids)
            if guider.remembering:
                parts.append(
                    [ids[: len(ids) - max(0, len(one[1]) - 1)] for ids, one in zip(inputs, group, strict=True)]
                )
                continue
            logits: list = [None] * len(group)
            for index, full in full_logits(lm, inputs):
                # a copy: a view would keep the logits of the whole text
                logits[index] = full[len(full) - len(group[index][1]) :].to(guider.base.device, copy=True)
            parts.append(logits)
        if guider.remembering:
            for index, guided in enumerate(_forced(guider, group, parts, lost)):
                yield at + index, guided, lost[index]
            continue
        for index in range(len(group)):
            yield at + index, guider.combine([logits[index] for logits in parts]), lost[index]


def _forced(guider: Guider, group: Sequence[Pair], read: list[list[list[int]]], lost: list[int]) -> list[torch.Tensor]:
    """Guided logits ``[len(continuation), V]`` where a guide has a memory: a step for each given token, through
    the same states as in decoding. Guides with uniform numbers see those of seed 0.

    Args:
        read: of each model, the ids of every pair's context. lost: tokens that the contexts lost.
    """
    slots, device = len(group), guider.base.device
    lengths = torch.tensor([len(continuation) for _, continuation in group], device=device)
    n = int(lengths.max())
    tokens = torch.zeros(slots, 1, 1, n, dtype=torch.long, device=device)
    for slot, (_, continuation) in enumerate(group):
        tokens[slot, 0, 0, : len(continuation)] = torch.tensor(list(continuation), dtype=torch.long)
    lanes = [Lane(lm, slots, 1, 1, max(1, n)) for lm in guider.models]
    for lane, contexts in zip(lanes, read, strict=True):
        lane.prefill(list(range(slots)), contexts)
    guidance = Guidance(guider, Sampling(), lanes, slots)
    guidance.admit(
        list(range(slots)),
        [
            LongPrompt(prompt, len(more) - 1) if gone else prompt
            for (prompt, more), gone in zip(group, lost, strict=True)
        ],
    )
    keys = torch.tensor([signed_key(ids) for ids in read[0]], device=device)
    zeros = torch.zeros(slots, 1, dtype=torch.long, device=device)
    guidance.begin(SoFar(tokens[:, :, 0, :0], zeros, keys, zeros[:, 0]))
    steps = []
    for t in range(n):
        logits: list = [lane.next_logits if t == 0 else lane.step(tokens[..., t - 1]) for lane in lanes]
        counts = lengths.clamp(max=t).view(-1, 1, 1)
        guided = guidance.guide(logits, tokens[..., :t], counts, (lengths > t).view(-1, 1, 1))
        steps.append(guided.view(slots, -1).clone())
        guidance.weigh(tokens[..., t])
    return [
        torch.stack([step[slot] for step in steps[: len(one[1])]]) if len(one[1]) else tokens.new_zeros(0, 1).float()
        for slot, one in enumerate(group)
    ]
