"""Guided decoding as research code writes it: the oracle of the laws and the baseline of the benchmark.

One prompt at a time, flat caches with a copy of the prompt per row (or none), a Python loop per chunk, and every
hypothesis re-encoded in full whenever it is scored. It shares with `guiders.decoding` the parts of a guider and the
random numbers of `guiders.sampling`, and none of the machinery: both must give the same responses.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from guiders.guider import Generation, Guider
from guiders.models.lm import LM
from guiders.models.vocab import first_difference
from guiders.sampling import Sampling, distribution, draw, prompt_key, uniforms
from guiders.value import Explicit, ImplicitValue


@dataclass(frozen=True)
class Hypothesis:
    """A response so far; `end` is "eos" or "stop" once it has ended."""

    tokens: tuple[int, ...] = ()
    end: str | None = None
    value: float | None = None
    kl: float = 0.0
    log_ratio: float = 0.0


class Reader:
    """One model reading the rows of one prompt: ``logits(rows)`` after each row's last token, ``[R, V]``."""

    def __init__(self, lm: LM, prompt: list[int], cached: bool):
        self.lm, self.prompt, self.cached = lm, prompt, cached
        self.past, self.read, self.positions = None, 0, 0

    def logits(self, rows: list[list[int]]) -> torch.Tensor:
        texts = [self.prompt + row for row in rows]
        tokens = torch.tensor([text[self.read if self.cached else 0 :] for text in texts], device=self.lm.device)
        if self.cached:
            out = self.lm.model(input_ids=tokens, past_key_values=self.past, use_cache=True, logits_to_keep=1)
            self.past, self.read = out.past_key_values, len(texts[0])
        else:
            out = self.lm.model(input_ids=tokens, use_cache=False)
        self.positions += len(rows) * (len(rows[0]) if not self.cached else min(len(rows[0]), tokens.shape[1]))
        return out.logits[:, -1]

    def reorder(self, rows: list[int]) -> None:
        """Row i goes on from row `rows[i]`."""
        if self.past is not None:
            self.past.reorder_cache(torch.tensor(rows, device=self.lm.device))


@torch.inference_mode()
def naive_generate(
    guider: Guider, prompts: Sequence, sampling: Sampling | None = None, cached: bool = True
) -> list[Generation]:
    """What `guiders.generate` gives, prompt by prompt.

    Args:
        cached: step with a flat key-value cache per row; False re-encodes the whole text for every token.
    """
    sampling = sampling or Sampling()
    bounding = guider.readers
    return [_decode(guider, index, prompt, sampling, cached, bounding) for index, prompt in enumerate(prompts)]


def _decode(guider: Guider, index: int, prompt, sampling: Sampling, cached: bool, bounding) -> Generation:
    started = time.perf_counter()
    search, base = guider.search, guider.base
    ids = base.encode_prompt(prompt)
    key = prompt_key(ids)
    key = key - (1 << 64) if key >= 1 << 63 else key
    room = min(lm.max_length - len(lm.encode_prompt(prompt)) for lm in bounding)
    limit = min(sampling.max_new_tokens, room - search.scores_cut_with_end)
    models = [base, *(lm for guide in guider.guides for lm in guide.models)]
    readers = [Reader(lm, ids if lm is base else lm.encode_prompt(prompt), cached) for lm in models]
    width, successors = search.survivors, search.successors
    length = (search.ends.most if search.scores == "boundary" else None) or limit
    beam, done, scored = [Hypothesis()] * width, 0, 0
    while done < limit and not all(h.end for h in beam):
        rows = [h for h in beam for _ in range(successors)]
        for step in range(done, min(done + length, limit)):
            if all(h.end for h in rows):
                break
            # an ended row is fed its last token again, to keep the batch rectangular; what it gives is not used
            texts = [list(h.tokens) + [h.tokens[-1]] * (step - len(h.tokens)) if step else [] for h in rows]
            guided, plain = _guided(guider, readers, texts)
            numbers = uniforms(sampling.stream, torch.tensor(key), torch.arange(len(rows)), torch.tensor(step))
            probabilities = distribution(guided, sampling)
            new = draw(probabilities, numbers[:, None].to(guided.device))[:, 0].tolist()
            reference = (plain / (sampling.temperature or 1.0)).log_softmax(-1)
            drawn = torch.tensor(new, device=guided.device)[:, None]
            ratio = (probabilities.log() - reference).gather(-1, drawn)[:, 0].tolist()
            kl = torch.special.xlogy(probabilities, probabilities).sum(-1) - (
                probabilities * reference.masked_fill(probabilities == 0, 0.0)
            ).sum(-1)
            rows = [
                h if h.end else _extend(base, h, new[i], float(kl[i]), ratio[i], sampling) for i, h in enumerate(rows)
            ]
            done = step + 1
        order = list(range(len(rows)))
        over = done >= limit
        if search.scores == "boundary" or (search.scores == "end" and (over or all(h.end for h in rows))):
            rows, positions = rescored(
                guider, prompt, rows, sampling.stop, appended=search.scores_cut_with_end and over
            )
            scored += positions
            copied = search.copies_ended
            valid = [i for i in order if copied or i % successors == 0 or not beam[i // successors].end]
            order = _best(rows, valid, copied)
        beam = [rows[i] for i in order[:width]]
        for reader in readers:
            reader.reorder([i for i in order[:width] for _ in range(successors)])
    best = beam[0]
    return Generation(
        index=index,
        text=_shown(base, best.tokens, sampling.stop),
        tokens=best.tokens,
        finish_reason=best.end or "length",
        value=best.value,
        kl=best.kl,
        kl_search=search.divergence(len(best.tokens), limit),
        forward_passes=scored + sum(reader.positions for reader in readers),
        seconds=time.perf_counter() - started,
        log_ratio=best.log_ratio if width * successors > 1 else None,
        computed_passes=scored + sum(reader.positions for reader in readers),
    )


def _guided(guider: Guider, readers: list[Reader], texts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Guided and plain logits of every row: ``log π + Σ_i w_i (log π_i⁺ − log π_i⁻)`` over the shared ids."""
    logits = [reader.logits(texts) for reader in readers]
    width = min(*(x.shape[-1] for x in logits), *(lm.config.vocab_size for lm in guider.readers))
    logits = [x[:, :width].to(torch.promote_types(x.dtype, torch.float32)).to(logits[0].device) for x in logits]
    guided = logits[0]
    for i, guide in enumerate(guider.guides):
        tuned, untuned = (x.log_softmax(-1) for x in logits[1 + 2 * i : 3 + 2 * i])
        guided = guided + guide.weight * (tuned - untuned)
    return guided, logits[0]


def _extend(base: LM, hypothesis: Hypothesis, token: int, kl: float, ratio: float, sampling: Sampling) -> Hypothesis:
    tokens, end = (*hypothesis.tokens, token), None
    if token in base.eos_ids:
        end = "eos"
    elif any(s in base.decode(list(tokens), special=kept) for s in sampling.stop for kept in (False, True)):
        end = "stop"
    return replace(hypothesis, tokens=tokens, end=end, kl=hypothesis.kl + kl, log_ratio=hypothesis.log_ratio + ratio)


def _best(rows: list[Hypothesis], valid: list[int], copied: bool) -> list[int]:
    """Rows by value: distinct hypotheses first (where an ended one is copied: by value alone)."""
    seen, distinct, copies = set(), [], []
    for i in sorted(valid, key=lambda i: -rows[i].value):
        (copies if rows[i].tokens in seen and not copied else distinct).append(i)
        seen.add(rows[i].tokens)
    return distinct + copies


def _shown(base: LM, tokens: tuple[int, ...], stops: tuple[str, ...]) -> str:
    text = base.decode(list(tokens))
    for stop in stops:
        text = text.partition(stop)[0]
    return text


def _retokenised(lm: LM, prompt: str, text: str) -> list[int]:
    """The text's tokens where it follows the prompt, or a line break where a token would reach into the prompt."""
    for before in (prompt, "\n", ""):
        first, both = (lm.tokenizer(one, add_special_tokens=False)["input_ids"] for one in (before, before + text))
        if both[: len(first)] == first:
            return both[len(first) :]
    raise AssertionError("every list of tokens begins with none")


def rescored(
    guider: Guider, prompt, rows: list[Hypothesis], stops: tuple[str, ...], appended: bool
) -> tuple[list[Hypothesis], int]:
    """Every row with its value, from the whole text; `appended` puts an end token after rows that were cut."""
    value, base = guider.value, guider.base
    models = [value.model] if isinstance(value, Explicit) else [value.tuned, value.untuned]
    values, positions = [0.0] * len(rows), 0
    retokenised = any(first_difference(base.tokenizer, lm.tokenizer) for lm in models)
    for sign, lm in zip((1, -1), models, strict=False):
        start = lm.encode_prompt(prompt)
        responses = [list(h.tokens) + [base.tokenizer.eos_token_id] * (appended and not h.end) for h in rows]
        if retokenised:
            asked = base.decode(list(prompt)) if isinstance(prompt[0], int) else prompt
            start = lm.encode_prompt(asked)
            texts = [_shown(base, h.tokens, stops).rstrip("\ufffd") for h in rows]
            responses = [
                _retokenised(lm, lm.render(asked), text) + [lm.tokenizer.eos_token_id] * bool(h.end or appended)
                for text, h in zip(texts, rows, strict=True)
            ]
        texts = [start + response for response in responses]
        longest = max(map(len, texts))
        # causal models don't see what comes after: padding on the right needs no mask
        batch = torch.tensor([text + [0] * (longest - len(text)) for text in texts], device=lm.device)
        logits = lm.model(input_ids=batch, use_cache=False).logits
        positions += (longest - len(start)) * len(rows)
        for i, text in enumerate(texts):
            values[i] += sign * _value(value, lm, logits[i, : len(text)], batch[i, : len(text)], len(start))
    return [replace(h, value=v) for h, v in zip(rows, values, strict=True)], positions


def _value(value: Explicit | ImplicitValue, lm: LM, logits: torch.Tensor, text: torch.Tensor, start: int) -> float:
    """One model's part: logits ``[n, ·]`` of a whole text ``[n]`` whose response begins at `start`."""
    if isinstance(value, Explicit):
        if lm.model.kind == "scalar":
            return float(logits[-1, 0])
        return float(logits[-2, text[-1]]) if len(text) > 1 else 0.0
    log_probs = logits[start - 1 : -1].to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    return float(log_probs.gather(-1, text[start:, None]).sum())
