"""Guided decoding as research code writes it: the oracle of the laws and the baseline of the benchmark.

One prompt at a time, flat caches with a copy of the prompt per row (or none), a Python loop per chunk, and every
hypothesis re-encoded in full whenever it is scored. It shares with `guiders.decoding` the parts of a guider and the
random numbers of `guiders.sampling`, and none of the machinery: both must give the same responses. A search selects by
its own rule, from a boundary that is made of the whole hypotheses (`guiders.laws.seen`).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from guiders.errors import GuiderError
from guiders.guider import Generation, Guider, with_base, with_memory
from guiders.laws.replay import replayed
from guiders.laws.seen import Hypothesis, rows_seen, survivors_seen
from guiders.models.lm import LM
from guiders.sampling import Sampling, distribution, drafted, draw, signed_key, uniforms
from guiders.search import Boundary, Selection

Select = Callable[[Boundary], Selection | None]


class Reader:
    """One model reading the rows of one prompt: ``logits(rows)`` after each row's last token, ``[R, V]``."""

    def __init__(self, lm: LM, prompt: list[int], cached: bool):
        self.lm, self.prompt, self.cached = lm, prompt, cached
        self.past: Any = None  # a cache of transformers' own
        self.read = self.positions = 0

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
    guider: Guider,
    prompts: Sequence,
    sampling: Sampling | None = None,
    cached: bool = True,
    select: Select | None = None,
) -> list[Generation]:
    """What `guiders.generate` gives, prompt by prompt.

    Args:
        cached: step with a flat key-value cache per row; False re-encodes the whole text for every token.
        select: another rule in the place of the search's own `select`. It sees the log-weights that it gave itself;
            those of token guides (`GuideState.weigh`) are not followed here.

    Raises:
        GuiderError: a search that revises, or whose chunks end at different lengths: rows are a rectangle here.
    """
    search, sampling = guider.search, sampling or Sampling()
    if search.revises or search.ends.ragged:
        raise GuiderError(
            f"{type(search).__name__} {'revises' if search.revises else 'ends chunks at different lengths'}, which the "
            "oracle does not follow; compare it with a distribution that is known, as on a `guiders.laws.tabular` model"
        )
    rule = select or search.select
    return [_decode(guider, index, prompt, sampling, cached, rule) for index, prompt in enumerate(prompts)]


def _decode(guider: Guider, index: int, prompt: object, sampling: Sampling, cached: bool, select: Select) -> Generation:
    started = time.perf_counter()
    search, base = guider.search, guider.base
    ids = base.encode_prompt(prompt)
    key = signed_key(ids)
    room = min(lm.max_length - len(lm.encode_prompt(prompt)) for lm in guider.readers)
    limit = min(sampling.max_new_tokens, room - search.scores_cut_with_end)
    models = [base, *(lm for guide in guider.guides for lm in guide.models)]
    readers = [Reader(lm, ids if lm is base else lm.encode_prompt(prompt), cached) for lm in models]
    successors, length = search.successors, search.ends.most or limit
    numbers_of_search = partial(_of_search, sampling, key)
    beam, added, finished = [Hypothesis()] * search.survivors, [0] * search.survivors, False
    done = chunks = scored = 0
    while done < limit and not finished and not all(h.end for h in beam):
        rows = [h for h in beam for _ in range(successors)]
        start = done
        for step in range(start, min(start + length, limit)):
            if all(h.end for h in rows):
                break
            # an ended row is fed its last token again, to keep the batch rectangular; what it gives is not used
            texts = [list(h.tokens) + [h.tokens[-1]] * (step - len(h.tokens)) if step else [] for h in rows]
            guided, plain, draft = _guided(guider, readers, texts)
            # before a chunk's first token the successors of a survivor are one
            place = [i if step > start else i // successors * successors for i in range(len(rows))]
            for i, h in enumerate(rows if guider.remembering else ()):
                if not h.end:
                    guided[i] = replayed(guider, prompt, h.tokens, sampling, (*h.rows, place[i]))[-1]
            numbers = uniforms(sampling.stream, torch.tensor(key), torch.arange(len(rows)), torch.tensor(step))
            probabilities = distribution(guided, sampling)
            each = numbers[:, None].to(guided.device)
            if draft is None:
                new = draw(probabilities, each, sampling.coupling)[:, 0].tolist()
            else:
                new = drafted(probabilities, distribution(draft, sampling), each)[0][:, 0].tolist()
            reference = (plain / (sampling.temperature or 1.0)).log_softmax(-1)
            drawn = torch.tensor(new, device=guided.device)[:, None]
            ratio = (probabilities.log() - reference).gather(-1, drawn)[:, 0].tolist()
            kl = torch.special.xlogy(probabilities, probabilities).sum(-1) - (
                probabilities * reference.masked_fill(probabilities == 0, 0.0)
            ).sum(-1)
            rows = [
                h if h.end else _extend(base, h, new[i], float(kl[i]), ratio[i], sampling) for i, h in enumerate(rows)
            ]
            rows = [
                h if len(h.rows) == len(h.tokens) else replace(h, rows=(*h.rows, place[i])) for i, h in enumerate(rows)
            ]
            done = step + 1
        with counting(getattr(guider.value, "models", ())) as read:
            rows = _valued(guider, prompt, rows, limit, sampling.stop)
        chunks, scored = chunks + 1, scored + read["positions"]
        selection = select(rows_seen(search, beam, rows, limit, chunks, partial(numbers_of_search, done)))
        chosen = list(range(len(rows))) if selection is None else selection.rows[0].tolist()
        added = [len(rows[i].tokens) - len(beam[i // successors].tokens) for i in chosen]
        beam = [rows[i] for i in chosen]
        if selection is None:
            continue
        if selection.log_weights is not None:
            weighed = zip(beam, selection.log_weights[0].tolist(), strict=True)
            beam = [replace(h, log_weight=weight) for h, weight in weighed]
        finished = selection.finished is not None and bool(selection.finished[0])
        for reader in readers:
            reader.reorder([i for i in chosen for _ in range(successors)])
    seen = survivors_seen(search, beam, added, limit, chunks, partial(numbers_of_search, done))
    answer = search.choose(seen)
    best, weight = beam[int(answer[0])], search.log_weight(seen, answer)
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
        log_ratio=best.log_ratio if guider.selects else None,
        log_weight=None if weight is None else float(weight[0]),
        computed_passes=scored + sum(reader.positions for reader in readers),
    )


def _guided(
    guider: Guider, readers: list[Reader], texts: list[list[int]]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Guided and plain logits of every row, over the shared ids, and those of the model that drafts, if one does."""
    logits = [reader.logits(texts) for reader in readers]
    adding = (True, *(not with_memory(guide) for guide in guider.guides for _ in guide.models))
    widths = [x.shape[-1] for x, adds in zip(logits, adding, strict=True) if adds]
    width = min(*widths, *(lm.config.vocab_size for lm in guider.readers))
    logits = [x[:, :width].to(torch.promote_types(x.dtype, torch.float32)).to(logits[0].device) for x in logits]
    guided, rest = logits[0], logits[1:]
    draft = None
    for guide in guider.guides:
        own, rest = rest[: len(guide.models)], rest[len(guide.models) :]
        place = getattr(guide, "draft", None)
        draft = own[place] if place is not None and draft is None else draft
        if not with_memory(guide):
            guided = guided + guide.shift(*((logits[0], *own) if with_base(guide) else own))
    return guided.clone(), logits[0], draft


def _extend(base: LM, hypothesis: Hypothesis, token: int, kl: float, ratio: float, sampling: Sampling) -> Hypothesis:
    tokens, end = (*hypothesis.tokens, token), None
    if token in base.eos_ids:
        end = "eos"
    elif any(s in base.decode(list(tokens), special=kept) for s in sampling.stop for kept in (False, True)):
        end = "stop"
    return replace(hypothesis, tokens=tokens, end=end, kl=hypothesis.kl + kl, log_ratio=hypothesis.log_ratio + ratio)


def _of_search(sampling: Sampling, key: int, step: int, m: int) -> torch.Tensor:
    """The search's own uniform numbers ``[1, m]`` after so many steps."""
    stream = replace(sampling, purpose=f"{sampling.purpose}/select").stream
    return uniforms(stream, torch.tensor([[key]]), torch.arange(m), torch.tensor([[step]]))


def _shown(base: LM, tokens: tuple[int, ...], stops: tuple[str, ...]) -> str:
    text = base.decode(list(tokens))
    for stop in stops:
        text = text.partition(stop)[0]
    return text


@contextmanager
def counting(models: Iterable[LM]) -> Iterator[dict[str, int]]:
    """Counts the token positions that these models read inside, prompts and padding included."""
    read = {"positions": 0}

    def watch(module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        read["positions"] += kwargs["input_ids"].numel()

    hooks = [lm.model.register_forward_pre_hook(watch, with_kwargs=True) for lm in dict.fromkeys(models)]
    try:
        yield read
    finally:
        for hook in hooks:
            hook.remove()


def _valued(
    guider: Guider, prompt: object, rows: list[Hypothesis], limit: int, stops: tuple[str, ...]
) -> list[Hypothesis]:
    """The rows with their values, from whole texts, where the search asks for values now."""
    search = guider.search
    if search.scores == "boundary":
        asked = list(range(len(rows)))
    else:
        over = (i for i, h in enumerate(rows) if h.end or len(h.tokens) >= limit)
        asked = [i for i in over if search.scores == "end" and rows[i].value is None]
    valued = list(rows)
    if asked:
        cut = limit if search.scores_cut_with_end else None
        for i, h in zip(asked, rescored(guider, prompt, [rows[i] for i in asked], stops, cut), strict=True):
            valued[i] = h
    return valued


def rescored(
    guider: Guider, prompt: object, rows: list[Hypothesis], stops: tuple[str, ...], limit: int | None
) -> list[Hypothesis]:
    """Every row with its value, from the whole text; an end token is put after rows that the `limit` cut."""
    assert guider.value is not None  # as the search chooses by it
    end = guider.base.tokenizer.eos_token_id
    cut = [limit is not None and not h.end and len(h.tokens) >= limit for h in rows]
    responses = [[*h.tokens, end] if more else list(h.tokens) for h, more in zip(rows, cut, strict=True)]
    ended = [bool(h.end) or more for h, more in zip(rows, cut, strict=True)]
    values = guider.value.rescore(guider, prompt, responses, ended, stops)
    return [replace(h, value=v) for h, v in zip(rows, values, strict=True)]
