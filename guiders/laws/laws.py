"""What every guider must obey, as assertions: run them on your own guider.

    from guiders import laws
    laws.check(my_guider, ["a prompt", "another one"], Sampling(max_new_tokens=20))

`check` runs all that apply. Use float64 models where you can: in less, a rounding error can turn a draw.
"""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, cast

import torch

from guiders.decoding.engine import Engine
from guiders.decoding.generate import generate
from guiders.decoding.stops import whole_characters
from guiders.guider import Generation, Guider, with_base
from guiders.kv.exclusive import exclusive
from guiders.kv.lane import Lane
from guiders.laws.replay import replayed
from guiders.models.lm import LM
from guiders.sampling import Sampling, signed_key
from guiders.score import token_log_probs
from guiders.search import BestOfN, ChunkBeam, Sample
from guiders.token.guidance import Guidance, SoFar
from guiders.value import Chunk

Together = list[Generation] | None  # what `decode` makes of the same arguments, where it is known


def check(guider: Guider, prompts: Sequence, sampling: Sampling, tolerance: float = 1e-6) -> None:
    """Every law that applies to this guider.

    Raises:
        AssertionError: one does not hold; the message says which, and where.
    """
    off_equals_base(guider, prompts, sampling)
    greedy_equals_transformers(guider, prompts, sampling.max_new_tokens)
    cached_logits_equal_formula(guider, prompts, sampling, tolerance)
    together = decode(guider, prompts, sampling)
    batch_mates_do_not_matter(guider, prompts, sampling, together)
    threads_do_not_matter(guider, prompts, sampling, together)
    arrival_does_not_matter(guider, prompts, sampling, together)
    ended_takes_one_slot(guider, prompts, sampling)
    if guider.value is not None:
        if not getattr(guider.value, "together", False):
            cached_value_equals_rescore(guider, prompts, sampling, tolerance)
        if not any(getattr(guide, "chance", False) for guide in guider.guides):
            unlimited_chunk_equals_best_of(guider, prompts, sampling)


def decode(guider: Guider, prompts: Sequence, sampling: Sampling, **options: Any) -> list[Generation]:
    """All generations, in the order of the prompts."""
    return sorted(generate(guider, prompts, sampling, **options), key=lambda generation: generation.index)


def off_equals_base(guider: Guider, prompts: Sequence, sampling: Sampling) -> None:
    """Token guidance that is switched off draws the base's own responses, and its KL is 0."""
    off = tuple(guide.off() for guide in guider.guides)
    guided = decode(Guider(guider.base, token=off), prompts, sampling)
    for ours, base in zip(guided, decode(Guider(guider.base), prompts, sampling), strict=True):
        _equal(ours, base, "token guidance that is off and the base")
        assert abs(ours.kl - base.kl) <= 1e-6, f"prompt {ours.index}: off, and a KL of {ours.kl}"


def greedy_equals_transformers(guider: Guider, prompts: Sequence, max_new_tokens: int) -> None:
    """W=K=1 at temperature 0, unguided, writes what transformers' greedy ``generate`` writes."""
    base = guider.base
    alone = replace(guider, token=None, search=Sample() if guider.value is None else ChunkBeam(1, 1, 3))
    for ours in decode(alone, prompts, Sampling(temperature=0, max_new_tokens=max_new_tokens)):
        ids = base.encode_prompt(prompts[ours.index])
        read = torch.tensor([ids], device=base.device)
        given = cast(Any, base.model).generate(
            read,
            attention_mask=torch.ones_like(read),
            do_sample=False,
            max_new_tokens=min(max_new_tokens, min(lm.max_length for lm in alone.readers) - len(ids)),
            eos_token_id=list(base.eos_ids),
            pad_token_id=base.eos_ids[0],
        )
        written = given[0, len(ids) :].tolist()
        said = f"prompt {ours.index}: W=K=1 greedy wrote {list(ours.tokens)}, transformers' greedy generate {written}"
        assert list(ours.tokens) == written, said


@torch.inference_mode()
def cached_logits_equal_formula(guider: Guider, prompts: Sequence, sampling: Sampling, tolerance: float = 1e-6) -> None:
    """Guided log-probabilities, token by token through the caches, equal the formula on whole texts without a cache.

    And their sum over a response's tokens is what `token_log_probs` says of it.
    """
    alone = replace(guider, search=Sample())
    for generation in decode(alone, prompts, sampling):
        prompt, tokens = prompts[generation.index], list(generation.tokens)
        stepped = stepped_log_probs(alone, prompt, tokens, length=3)
        if guider.remembering:
            formula = torch.stack(replayed(alone, prompt, tokens)[:-1]).log_softmax(-1)
        else:
            whole = [_uncached(lm, lm.encode_prompt(prompt), tokens) for lm in guider.models]
            width = min(x.shape[-1] for x in whole)
            formula, *_ = whole = [x[:, :width] for x in whole]
            for guide in guider.guides:
                own = [whole[place] for place in guider.places(guide)]
                formula = formula + guide.shift(*((whole[0], *own) if with_base(guide) else own))
            formula = formula.log_softmax(-1)
        _near(
            stepped, formula, tolerance, f"prompt {generation.index}: guided log-probabilities, cached and by formula"
        )
        total = stepped.gather(-1, torch.tensor(tokens, device=stepped.device)[:, None]).sum()
        if all(getattr(guide, "normalised", True) for guide in guider.guides):
            said = token_log_probs(alone, [(prompt, tokens)])[0].total
            _near(
                torch.tensor(said, dtype=torch.float64),
                total.cpu(),
                tolerance * len(tokens),
                f"prompt {generation.index}: token_log_probs",
            )


def batch_mates_do_not_matter(guider: Guider, prompts: Sequence, sampling: Sampling, together: Together = None) -> None:
    """A prompt alone, among others, in another order, or in a batch of one slot: the same response."""
    together = together or decode(guider, prompts, sampling)
    for generation in decode(guider, prompts, sampling, batch_tokens=1):
        _equal(generation, together[generation.index], "one slot and all together")
    for generation in generate(guider, list(prompts)[::-1], sampling):
        mate = together[len(prompts) - 1 - generation.index]
        _equal(replace(generation, index=mate.index), mate, "reversed order and the given one")


def threads_do_not_matter(guider: Guider, prompts: Sequence, sampling: Sampling, together: Together = None) -> None:
    """Two threads at once, of two guiders that share a base: each writes what it writes alone."""
    guiders = (guider, Guider(guider.base, token=guider.token))
    alone = [together or decode(guider, prompts, sampling), decode(guiders[1], prompts, sampling)]
    start = threading.Barrier(len(guiders))

    def at_once(one: Guider) -> list[Generation]:
        start.wait()
        return decode(one, prompts, sampling)

    with ThreadPoolExecutor(len(guiders)) as pool:
        for expected, found in zip(alone, pool.map(at_once, guiders), strict=True):
            for one, other in zip(found, expected, strict=True):
                _equal(one, other, "a thread beside another one and alone")


def arrival_does_not_matter(guider: Guider, prompts: Sequence, sampling: Sampling, together: Together = None) -> None:
    """A prompt that comes late, to others of other limits, or to slots that grow for it: the response it has alone."""
    together = together or decode(guider, prompts, sampling)
    engine, found = Engine(guider), []
    asked = {}
    shorter = replace(sampling, max_new_tokens=max(1, sampling.max_new_tokens // 2))
    for index, prompt in enumerate(prompts):
        engine.add(prompt, shorter)
        asked[engine.add(prompt, sampling)] = index
        found += engine.step()
    while not engine.idle:
        found += engine.step()
    late = {asked[one.index]: one for one in found if one.index in asked}
    for index, generation in enumerate(together):
        _equal(generation, late[index], "together and as they came")


def cached_value_equals_rescore(guider: Guider, prompts: Sequence, sampling: Sampling, tolerance: float = 1e-6) -> None:
    """The value that chose a response, gathered chunk by chunk, equals that of the whole response at once, by the
    same scorer and by the slow formula (`Value.rescore`)."""
    assert guider.value is not None
    search = guider.search if guider.search.scores == "boundary" else ChunkBeam(2, 2, 3)
    for generation in decode(replace(guider, search=search), prompts, sampling):
        ended = generation.finish_reason != "length"
        prompt, tokens = prompts[generation.index], list(generation.tokens)
        (slow,) = getattr(guider.value, "finished", guider.value).rescore(
            guider, prompt, [tokens], [ended], sampling.stop
        )
        expected = {"at once": whole_value(guider, prompt, tokens, ended, sampling.stop), "by the slow formula": slow}
        for how, value in expected.items():
            _near(
                torch.tensor(generation.value, dtype=torch.float64),
                torch.tensor(value, dtype=torch.float64),
                tolerance,
                f"prompt {generation.index}: the value, chunk by chunk and {how}",
            )


def unlimited_chunk_equals_best_of(guider: Guider, prompts: Sequence, sampling: Sampling) -> None:
    """Chunk beam search with L=∞ is best-of-(W·K)."""
    beam = decode(replace(guider, search=ChunkBeam(2, 3, None)), prompts, sampling)
    best = decode(replace(guider, search=BestOfN(6)), prompts, sampling)
    for one, other in zip(beam, best, strict=True):
        _equal(one, other, "chunk beam search without a chunk limit and best-of-(W·K)")


def ended_takes_one_slot(guider: Guider, prompts: Sequence, sampling: Sampling) -> None:
    """A hypothesis that ended is never decoded again: it comes back once, with its text and its value."""
    if guider.search.scores != "boundary" or guider.search.copies_ended or guider.search.revises:
        return
    for generation in decode(guider, prompts, sampling, trace=True):
        before: Counter = Counter()
        assert generation.trace is not None
        for chunk in generation.trace["chunks"]:
            now = Counter((h["text"], h["value"]) for h in chunk["hypotheses"] if h["ended"])
            for hypothesis, copies in before.items():
                assert now[hypothesis] >= copies, f"prompt {generation.index}: {hypothesis} had ended, and went on"
            before = Counter((h["text"], h["value"]) for h in chunk["hypotheses"] if h["ended"] and h["kept"])
            survivors = guider.search.survivors
            carried = sum(before.values())
            assert carried <= survivors, f"prompt {generation.index}: {carried} ended hypotheses in {survivors} slots"


def follows(observed: Mapping, probabilities: Mapping, least: float = 1e-3) -> None:
    """Pearson's chi-square test that counts come from a distribution.

    Args:
        observed: outcome -> count. probabilities: outcome -> probability, of all outcomes. least: reject below this
            p-value.
    """
    stray = set(observed) - {outcome for outcome, p in probabilities.items() if p > 0}
    assert not stray, f"drawn with probability 0: {sorted(stray)[0]}"
    n = sum(observed.values())
    rare = [o for o, p in probabilities.items() if n * p < 5]  # pooled: chi-square needs 5 expected counts a cell
    cells = [(observed.get(o, 0), n * p) for o, p in probabilities.items() if n * p >= 5]
    if sum(n * probabilities[o] for o in rare) >= 5:
        cells.append((sum(observed.get(o, 0) for o in rare), sum(n * probabilities[o] for o in rare)))
    statistic = sum((count - expected) ** 2 / expected for count, expected in cells)
    half = torch.tensor([(len(cells) - 1) / 2, statistic / 2], dtype=torch.float64)
    p_value = float(torch.special.gammaincc(half[0], half[1]))
    assert p_value >= least, f"chi-square {statistic:.1f} on {len(cells) - 1} degrees of freedom, p = {p_value:.1e}"


@torch.inference_mode()
def stepped_log_probs(guider: Guider, prompt: object, tokens: list[int], length: int) -> torch.Tensor:
    """Guided log-probabilities ``[n, V]`` before every token, stepping through the caches in chunks of `length`."""
    lanes = [Lane(lm, 1, 1, 1, length) for lm in guider.models]
    zero, steps = torch.zeros(1, 1, dtype=torch.long, device=guider.base.device), []
    for lane in lanes:
        lane.prefill([0], [lane.lm.encode_prompt(prompt)])
    guidance = Guidance(guider, Sampling(), lanes, 1)
    guidance.admit([0], [prompt])
    key = zero[0] + signed_key(guider.base.encode_prompt(prompt))
    response = zero[..., None] + torch.tensor(tokens, dtype=torch.long, device=zero.device)  # [1, 1, n]
    for step in range(len(tokens)):
        column = step % length
        if step and not column:
            for lane in lanes:
                lane.commit(zero, zero, zero + length - 1, False)
                lane.advance(zero + tokens[step - 1])
            guidance.commit(zero, zero, zero + length, False)
        if not column:
            guidance.begin(SoFar(response[..., :step], zero + step, key, zero[0] + step))
        logits = [lane.next_logits if not column else lane.step(response[..., step - 1 : step]) for lane in lanes]
        now = response[:, :, None, step - column : step]
        here = zero[..., None] + column
        steps.append(guidance.guide(logits, now, here, here == column).flatten().log_softmax(-1))
        guidance.weigh(response[..., step : step + 1])
    return torch.stack(steps)


@torch.inference_mode()
def whole_value(guider: Guider, prompt: object, tokens: list[int], ended: bool, stops: tuple[str, ...] = ()) -> float:
    """The value of a response, by a new scorer that is given all of it as one chunk."""
    alone = replace(guider, token=None, search=ChunkBeam(1, 1, None))
    assert alone.value is not None
    scorer, device = alone.value.scorer(alone, 1, len(tokens)), guider.base.device
    scorer.admit([0], [prompt])
    chunk = Chunk(
        tokens=torch.tensor([[[tokens]]], device=device),
        counts=torch.tensor([[[len(tokens)]]], device=device),
        ended=torch.tensor([[[ended]]], device=device),
        values=torch.zeros(1, 1, dtype=torch.float64, device=device),
        log_ratio=None,
        responses=lambda: [[tokens]],
        text=lambda response: whole_characters(guider.base, response, stops),
        over=torch.ones(1, 1, 1, dtype=torch.bool, device=device),
        stop=stops,
    )
    return float(scorer.score(chunk))


def _uncached(lm: LM, prompt: list[int], tokens: list[int]) -> torch.Tensor:
    """Logits ``[n, V]`` before every token of the response, in one pass over the whole text."""
    text = torch.tensor([prompt + tokens[:-1]], device=lm.device)
    with exclusive(lm.model):
        return lm.model(input_ids=text, use_cache=False).logits[0, len(prompt) - 1 :]


def _equal(one: Generation, other: Generation, what: str) -> None:
    assert one.tokens == other.tokens, f"prompt {one.index}: {what} differ: {one.text!r} and {other.text!r}"


def _near(found: torch.Tensor, expected: torch.Tensor, tolerance: float, what: str) -> None:
    found, expected = found.double(), expected.double().to(found.device)
    masked = expected.isneginf()
    assert torch.equal(found.isneginf(), masked), f"{what}: other ids are masked"
    found, expected = found.masked_fill(masked, 0), expected.masked_fill(masked, 0)
    worst = float((found - expected).abs().max() / (1 + expected.abs().max()))
    assert worst <= tolerance, f"{what} differ by {worst:.1e}"
