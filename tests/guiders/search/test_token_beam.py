"""Token beams beside transformers' own beam search, and beside plain Python."""

import itertools
import math

import pytest
import torch
from tabular_value import PROMPT, log_prob, responses, table, tabular
from tiny_models import END, VOCAB, ending, lm

from guiders import Guider, GuiderError, Implicit, Sampling, TokenBeam, laws

torch.set_num_threads(1)
TEXTS = ["ab", "hello there", "q", "a fox jumps", "de", "k"]
LIMIT = 10


def by_transformers(base, prompt, tokens=LIMIT, **options):
    """The response of transformers' `generate`."""
    ids = base.encode_prompt(prompt)
    written = base.model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        do_sample=False,
        max_new_tokens=tokens,
        eos_token_id=list(base.eos_ids),
        pad_token_id=base.eos_ids[0],
        **options,
    )[0, len(ids) :].tolist()
    end = next((i + 1 for i, token in enumerate(written) if token in base.eos_ids), len(written))
    return tuple(written[:end])


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma2"])
@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize(("penalty", "patience"), [(1.0, None), (0.0, None), (2.0, 1.0), (1.0, 1.0)])
def test_one_group_is_transformers_beam_search_token_for_token(architecture, width, penalty, patience):
    base = ending(architecture, 1, {3})  # a common letter ends a text; transformers looks at 3W candidates then
    base.__dict__["eos_ids"] = (END,)
    sampling = Sampling(max_new_tokens=LIMIT)
    for one in laws.decode(
        Guider(base, search=TokenBeam(width, patience=patience, length_penalty=penalty)), TEXTS, sampling
    ):
        expected = by_transformers(
            base,
            TEXTS[one.index],
            num_beams=width,
            length_penalty=penalty,
            early_stopping=patience is not None,
        )
        assert one.tokens == expected


def test_ends_that_are_likely_are_those_of_transformers():
    """A language whose every other text ends within a few tokens: finished responses compete."""
    base, found = lm("gpt2", 3, 0.6), set()
    with torch.no_grad():
        bias = torch.zeros(VOCAB, dtype=torch.float64)
        bias[END] = 2.0
    hook = base.model.lm_head.register_forward_hook(lambda module, args, out: out + bias)
    try:
        for width, patience in itertools.product((2, 3, 5), (None, 1.0)):
            search = TokenBeam(width, patience=patience, length_penalty=0.7)
            for one in laws.decode(Guider(base, search=search), TEXTS, Sampling(max_new_tokens=LIMIT)):
                expected = by_transformers(
                    base, TEXTS[one.index], num_beams=width, length_penalty=0.7, early_stopping=patience is not None
                )
                assert one.tokens == expected
                found.add(len(one.tokens))
    finally:
        hook.remove()
    assert len(found) > 2
    assert min(found) < LIMIT


def test_a_beam_as_wide_as_the_language_finds_the_likeliest_response():
    logits = table(2)
    sampling = Sampling(max_new_tokens=4)
    likeliest = max(responses(4), key=lambda y: log_prob(logits, y))
    search = TokenBeam(40, length_penalty=0.0)
    (one,) = laws.decode(Guider(tabular(logits), search=search), [PROMPT], sampling)
    assert one.tokens == likeliest
    greedy = laws.decode(Guider(tabular(logits), search=TokenBeam(1)), [PROMPT], sampling)[0].tokens
    assert any(
        laws.decode(Guider(tabular(table(seed)), search=search), [PROMPT], sampling)[0].tokens
        != laws.decode(Guider(tabular(table(seed)), search=TokenBeam(1)), [PROMPT], sampling)[0].tokens
        for seed in range(6)
    )
    assert log_prob(logits, greedy) <= log_prob(logits, likeliest)


def diverse(logits, search, limit) -> tuple:
    """Diverse beam search in plain Python, from its description."""
    groups = [([((), 0.0)], []) for _ in range(search.groups)]
    each, stopped = search.width // search.groups, set()
    for _ in range(limit):
        taken: list[int] = []
        for g, (running, finished) in enumerate(groups):
            if g in stopped:
                continue
            candidates = []
            for tokens, score in running:
                text = [*PROMPT, *tokens]
                row = logits[len(text) - 1, text[-1]].log_softmax(-1)
                for v in range(VOCAB):
                    if row[v] > -1e6:
                        penalty = search.diversity * taken.count(v)
                        candidates.append(((*tokens, v), score + float(row[v]) - penalty))
            candidates.sort(key=lambda one: -one[1])
            candidates = candidates[: 2 * each]
            over = [(y, s) for y, s in candidates[:each] if y[-1] == END or len(y) == limit]
            finished += over
            finished.sort(key=lambda one: -one[1] / len(one[0]) ** search.length_penalty)
            del finished[search.done :]
            running = [(y, s) for y, s in candidates if y[-1] != END and len(y) < limit][:each]
            groups[g] = (running, finished)
            if not running or len(finished) == search.done:
                stopped.add(g)
                groups[g] = ([], finished)
            else:
                taken += [y[-1] for y, _ in running]
    return max(
        (one for _, finished in groups for one in finished),
        key=lambda one: one[1] / len(one[0]) ** search.length_penalty,
    )[0]


@pytest.mark.parametrize(
    "search",
    [
        TokenBeam(4, 2, 0.7, patience=1.0),
        TokenBeam(4, 4, 1.5, patience=1.0),
        TokenBeam(3, 1, 0.0, patience=2.0),
        TokenBeam(4, 1, 0.0, patience=0.5),
        TokenBeam(6, 3, 0.4, patience=1.5, length_penalty=0.3),
    ],
    ids=str,
)
def test_groups_and_patience_are_what_their_papers_say(search):
    plain = TokenBeam(search.width, patience=1.0, length_penalty=search.length_penalty)
    differ = 0
    for seed in range(12):
        logits = table(seed)
        guider = Guider(tabular(logits), search=search)
        (one,) = laws.decode(guider, [PROMPT], Sampling(max_new_tokens=5))
        assert one.tokens == diverse(logits, search, 5)
        (other,) = laws.decode(Guider(tabular(logits), search=plain), [PROMPT], Sampling(max_new_tokens=5))
        differ += other.tokens != one.tokens
    assert differ


def test_guided_log_likelihood_is_what_is_searched():
    """The beam of base + w (tuned − untuned) on tables is the beam of the table that this is."""
    base, tuned, untuned = table(1), table(2), table(3)
    together = base + 0.8 * (tuned - untuned).masked_fill(base < -1e6, 0.0)
    guider = Guider(tabular(base), Implicit(tabular(tuned), tabular(untuned), 0.8), search=TokenBeam(3))
    (one,) = laws.decode(guider, [PROMPT], Sampling(max_new_tokens=5))
    (other,) = laws.decode(Guider(tabular(together), search=TokenBeam(3)), [PROMPT], Sampling(max_new_tokens=5))
    assert one.tokens == other.tokens
    ratio = log_prob(together, one.tokens) - log_prob(base, one.tokens)
    assert one.log_ratio == pytest.approx(ratio, abs=1e-9)


def test_what_it_costs_by_hand():
    """The first token comes from the prompt; each later one takes a position for each of the W beams."""
    base = lm("gpt2", 0, 0.5)
    base = type(base)(base.model, base.tokenizer, name=base.name)
    base.__dict__["eos_ids"] = ()
    (one,) = laws.decode(Guider(base, search=TokenBeam(3)), ["ab"], Sampling(max_new_tokens=6))
    assert len(one.tokens) == 6
    assert one.forward_passes == 3 * 5


def test_all_laws_hold():
    guider = Guider(lm("gpt2", 0, 0.5), Implicit(lm("llama", 1), lm("gpt2", 2), 0.6), search=TokenBeam(4, 2, 0.5))
    laws.check(guider, ["ab", "hello there", "q"], Sampling(max_new_tokens=9, seed=2))


def test_bad_settings_are_named():
    for setting in (
        {"width": 0},
        {"groups": 3},
        {"groups": 0},
        {"diversity": -1.0},
        {"patience": 0.0},
        {"length_penalty": math.inf},
    ):
        with pytest.raises(GuiderError, match=next(iter(setting))):
            TokenBeam(**setting)
