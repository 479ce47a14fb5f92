"""Grid beam search beside plain beams, plain Python, and the likeliest response with the phrases by enumeration."""

import pytest
import torch
from tabular_value import PROMPT, log_prob, responses, table, tabular
from tiny_models import END, VOCAB, lm

from guiders import GridBeam, Guider, GuiderError, Implicit, Sampling, TokenBeam, laws

torch.set_num_threads(1)
TEXTS = ["ab", "hello there", "q", "a fox jumps"]


def answer(logits, search, limit=4) -> tuple:
    (one,) = laws.decode(Guider(tabular(logits), search=search), [PROMPT], Sampling(max_new_tokens=limit))
    return one.tokens


def holds(tokens, phrase) -> bool:
    return any(tokens[i : i + len(phrase)] == phrase for i in range(len(tokens)))


@pytest.mark.parametrize("settings", [{}, {"patience": 1.0}, {"length_penalty": 0.3, "patience": 2.0}], ids=str)
def test_no_phrase_is_plain_beam_search(settings):
    base, sampling = lm("gpt2", 1, 0.6), Sampling(max_new_tokens=10)
    for width in (1, 3, 4):
        found = [
            laws.decode(Guider(base, search=kind(width, **settings)), TEXTS, sampling) for kind in (GridBeam, TokenBeam)
        ]
        assert [one.tokens for one in found[0]] == [one.tokens for one in found[1]]
        assert [one.forward_passes for one in found[0]] == [one.forward_passes for one in found[1]]


PHRASES = [((1, 2),), ((0,), (2, 1)), ((0, 0, 1),), ((1,), (0,), (2,)), ((0, 1), (1, 2))]


@pytest.mark.parametrize("phrases", PHRASES, ids=str)
def test_beams_as_wide_as_the_language_find_the_likeliest_response_with_the_phrases(phrases):
    without = 0
    for seed in range(3):
        logits = table(seed)
        allowed = [y for y in responses(4) if all(holds(y, phrase) for phrase in phrases)]
        likeliest = max(allowed, key=lambda y: log_prob(logits, y))
        assert answer(logits, GridBeam(27, length_penalty=0.0, phrases=phrases)) == likeliest
        without += answer(logits, TokenBeam(27, length_penalty=0.0)) != likeliest
    assert without  # the phrases change something


def covered(tokens, phrases) -> int:
    unmet = [phrase for phrase in phrases if not holds(tokens, phrase)]
    begun = [n for phrase in unmet for n in range(1, len(phrase)) if tokens[-n:] == phrase[:n]]
    return sum(len(p) for p in phrases if p not in unmet) + max(begun, default=0)


def by_hand(logits, width, phrases, limit) -> tuple:
    """Narrow beams in plain Python, from the description; a beam stops with as many finished responses."""
    total = sum(map(len, phrases))
    beams, finished = {0: [((), 0.0)]}, []
    for _ in range(limit):
        candidates = []
        for tokens, score in (one for beam in beams.values() for one in beam):
            text = [*PROMPT, *tokens]
            row = logits[len(text) - 1, text[-1]].log_softmax(-1)
            likeliest = row.topk(2 * width).indices.tolist()
            for v in dict.fromkeys([*likeliest, *(v for phrase in phrases for v in phrase)]):
                candidates.append(((*tokens, v), score + float(row[v])))
        beams = {}
        for c in range(total + 1):
            some = sorted((one for one in candidates if covered(one[0], phrases) == c), key=lambda one: -one[1])
            some = some[: 2 * width]
            over = [one for one in some[:width] if one[0][-1] == END or len(one[0]) == limit]
            finished += [one for one in over if c == total or len(one[0]) == limit]
            beams[c] = [one for one in some if one[0][-1] != END and len(one[0]) < limit][:width]
        finished.sort(key=lambda one: (covered(one[0], phrases), one[1] / len(one[0])), reverse=True)
        del finished[width:]
        if len(finished) == width:
            break
    return finished[0][0]


@pytest.mark.parametrize("phrases", PHRASES, ids=str)
@pytest.mark.parametrize("width", [1, 2, 3])
def test_narrow_beams_are_what_the_description_says(phrases, width):
    met = 0
    for seed in range(8):
        logits = table(seed)
        found = answer(logits, GridBeam(width, patience=1.0, phrases=phrases), 6)
        assert found == by_hand(logits, width, phrases, 6)
        met += all(holds(found, phrase) for phrase in phrases)
    assert met == 8


class _Unmoved(GridBeam):
    """Wrong: hypotheses are not continued with the phrases' tokens."""

    also = ()


def test_without_the_phrases_own_tokens_narrow_beams_miss_them():
    base, sampling = lm("gpt2", 1, 0.6), Sampling(max_new_tokens=8)
    phrase = tuple(base.tokenizer("q", add_special_tokens=False)["input_ids"])
    met = []
    for kind in (GridBeam, _Unmoved):
        given = laws.decode(Guider(base, search=kind(2, phrases=["q"])), TEXTS, sampling)
        met.append(sum(holds(one.tokens, phrase) for one in given))
    assert met[0] == len(TEXTS) > met[1]


def test_what_can_not_be_met_within_the_limit_misses_as_little_as_it_can():
    tokens = answer(table(1), GridBeam(3, phrases=[[0, 1, 2, 0, 1, 2]]), 4)
    assert tokens == (0, 1, 2, 0)


def test_what_it_costs_by_hand():
    """The first token comes from the prompt. Then nothing covered: W beams of three; all covered: one, then W."""
    base = lm("gpt2", 0, 0.5)
    base = type(base)(base.model, base.tokenizer, name=base.name)
    base.__dict__["eos_ids"] = ()
    (one,) = laws.decode(Guider(base, search=GridBeam(3, phrases=["q"])), ["ab"], Sampling(max_new_tokens=5))
    assert one.forward_passes == 3 * 4 + 1 + 3 * 3


def test_all_laws_hold():
    pair = (lm("llama", 1), lm("gpt2", 2))
    search = GridBeam(2, phrases=["q", "ab"])
    laws.check(Guider(lm("gpt2", 0, 0.5), Implicit(*pair, 0.6), search=search), TEXTS[:3], Sampling(max_new_tokens=7))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"width": 0}, "width=0"),
        ({"width": 4, "groups": 2}, "groups=2"),
        ({"phrases": [""]}, "an empty one"),
        ({"phrases": [[VOCAB + 5]]}, "no phrase of"),
    ],
)
def test_bad_settings_are_named_in_one_line(settings, said):
    with pytest.raises(GuiderError, match=said) as error:
        Guider(lm(), search=GridBeam(**settings))
    assert "\n" not in str(error.value)
