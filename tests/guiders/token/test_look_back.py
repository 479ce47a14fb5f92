"""Look-back decoding, step by step in plain Python."""

import pytest
import torch
from tiny_models import VOCAB, ending, lm, value

from guiders import ChunkBeam, Explicit, Guider, GuiderError, LookBack, Sampling, generate, laws, token_log_probs
from guiders.laws.oracle import naive_generate

torch.set_num_threads(1)
PROMPTS, SAMPLING = ["ab", "hello there", "q"], Sampling(max_new_tokens=9, seed=3, temperature=0.9)
ALPHA = 0.25  # some steps of these models repeat and some do not


def by_hand(base, tokens, alpha, k, greedy):
    """log-probabilities of the tokens, and at which steps an earlier distribution is repeated."""
    past, found, repeats = [], [], []
    for t, token in enumerate(tokens):
        logits = base.model(torch.tensor([[*base.encode_prompt("ab"), *tokens[:t]]])).logits[0, -1].detach()
        p = logits.softmax(-1)
        repeats.append(any(float((p * (p / q).log()).sum()) < alpha for q in past))
        kept = k if repeats[-1] else (1 if greedy else VOCAB)
        allowed = sorted(range(VOCAB), key=lambda i: -float(p[i]))[:kept]
        total = float(p[allowed].sum())
        found.append(float((p[token] / total).log()) if token in allowed else -torch.inf)
        past.append(p)
    return found, repeats


@pytest.mark.parametrize("greedy", [False, True])
def test_against_the_definition(greedy):
    base, tokens = lm("llama", 0), [4, 4, 1, 4, 4, 9, 1, 4]
    found = token_log_probs(Guider(base, LookBack(ALPHA, 3, greedy)), [("ab", tokens)])[0].log_probs
    expected, repeats = by_hand(base, tokens, ALPHA, 3, greedy)
    assert 0 < sum(repeats) < len(repeats)
    assert found == pytest.approx(expected, abs=1e-9)


def test_greedy_where_nothing_repeats():
    base = lm("llama", 0)
    (one,) = generate(Guider(base, LookBack(ALPHA, 3, True)), ["ab"], Sampling(max_new_tokens=12, seed=1))
    log_probs, repeats = by_hand(base, list(one.tokens), ALPHA, 3, True)
    assert 0 < sum(repeats) < len(repeats)
    assert min(log_probs) > -torch.inf
    assert [p for p, again in zip(log_probs, repeats, strict=True) if not again] == pytest.approx(
        [0.0] * (len(repeats) - sum(repeats))
    )


def test_its_memory_follows_the_beam():
    guider = Guider(ending("llama", 0, {3}), LookBack(1.0, 1), Explicit(value("mistral")), ChunkBeam(2, 2, 3))
    ours = laws.decode(guider, PROMPTS, SAMPLING)
    assert [one.tokens for one in ours] == [one.tokens for one in naive_generate(guider, PROMPTS, SAMPLING)]
    assert any(
        a.tokens != b.tokens
        for a, b in zip(
            ours,
            laws.decode(Guider(guider.base, None, guider.value, guider.search), PROMPTS, SAMPLING),
            strict=True,
        )
    )


def test_alpha_0_is_the_base():
    base = ending("llama", 0, {3})
    plain = laws.decode(Guider(base), PROMPTS, SAMPLING)
    assert [one.tokens for one in laws.decode(Guider(base, LookBack(0.0, 3)), PROMPTS, SAMPLING)] == [
        one.tokens for one in plain
    ]


def test_laws():
    laws.check(Guider(ending("llama", 0, {3}), LookBack(ALPHA, 3)), PROMPTS, SAMPLING)


def test_what_is_refused():
    with pytest.raises(GuiderError, match="look-back: alpha=-1 is out of range; it must be 0 or more"):
        LookBack(-1)
    with pytest.raises(GuiderError, match="k=99 is above the vocabulary of 24 ids"):
        list(generate(Guider(lm(), LookBack(k=99)), ["ab"], SAMPLING))
