"""ARGS, RAD and VAS: the optimal policy by enumeration, greedy decoding, masks, cost, and what is refused."""

import math

import pytest
import torch
from tabular_value import PROMPT, TabularQ, exact_value, log_prob, responses, table, tabular
from tiny_models import VOCAB, ending, lm, value, words

from guiders import ARGS, LM, VAS, Guider, GuiderError, QGuidance, Sampling, generate, laws, token_log_probs

torch.set_num_threads(1)
PROMPTS, SAMPLING = ["ab", "hello there", "q"], Sampling(max_new_tokens=9, seed=3, temperature=0.9)
SCALAR, FULL = value(kind="scalar"), value(kind="vocab")
GUIDES = {"args": ARGS(SCALAR, 1.5, 5), "vas": VAS(FULL, 1.5, 5)}


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_the_exact_prefix_value_gives_the_optimal_policy(beta):
    base, steps = table(1), 3
    soft, optimal = exact_value(base, beta, steps)
    texts = list(responses(steps))
    guider = Guider(tabular(base), ARGS(soft, 1 / beta, VOCAB))
    found = [one.total for one in token_log_probs(guider, [(PROMPT, text) for text in texts])]
    assert found == pytest.approx([log_prob(optimal, text) for text in texts], abs=1e-9)
    assert sum(map(math.exp, found)) == pytest.approx(1.0)
    # a weight that is not 1/β is another policy, and so is a mask
    for wrong in (ARGS(soft, 1.1 / beta, VOCAB), ARGS(soft, 1 / beta, 2)):
        other = token_log_probs(Guider(tabular(base), wrong), [(PROMPT, text) for text in texts])
        assert [one.total for one in other] != pytest.approx(found, abs=1e-3)


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_vas_with_the_exact_next_token_value_gives_the_optimal_policy(beta):
    """Q = β log(π*/π) of every next token, by the soft Bellman recursion; among k ids, π* on the base's k likeliest."""
    base, steps = table(1), 3
    _, optimal = exact_value(base, beta, steps)
    q = LM(TabularQ(beta * (optimal - base.log_softmax(-1))), words(), name="exact Q")
    texts = list(responses(steps))
    for k in (VOCAB, 2):
        guider = Guider(tabular(base), VAS(q, 1 / beta, k))
        found = [one.total for one in token_log_probs(guider, [(PROMPT, text) for text in texts])]
        kept = optimal.masked_fill(base < base.topk(k, -1).values[..., -1:], -1e9)
        expected = [log_prob(kept, text) for text in texts]
        there = [place for place, total in enumerate(expected) if total > -1e6]
        assert [found[place] for place in there] == pytest.approx([expected[place] for place in there], abs=1e-9)
        assert sum(map(math.exp, found)) == pytest.approx(1.0)
        assert len(there) == (len(texts) if k == VOCAB else sum(total > -1e6 for total in found)) > 1
    other = token_log_probs(Guider(tabular(base), VAS(q, 1.1 / beta, VOCAB)), [(PROMPT, text) for text in texts])
    assert [one.total for one in other] != pytest.approx([log_prob(optimal, text) for text in texts], abs=1e-3)


@pytest.mark.parametrize("guide", [ARGS(SCALAR, 3.0, 1), VAS(FULL, 3.0, 1)])
def test_one_alternative_is_greedy_decoding(guide):
    base = lm("llama", 0)
    for one in laws.decode(Guider(base, guide), PROMPTS, SAMPLING):
        ids = base.encode_prompt(PROMPTS[one.index])
        for token in one.tokens:
            assert token == int(base.model(torch.tensor([ids])).logits[0, -1].argmax())
            ids.append(token)


def test_vas_on_all_ids_is_q_guidance():
    base = lm("llama", 0)
    of_q = laws.decode(Guider(base, QGuidance(FULL, 0.8)), PROMPTS, SAMPLING)
    assert [one.tokens for one in laws.decode(Guider(base, VAS(FULL, 0.8, VOCAB)), PROMPTS, SAMPLING)] == [
        one.tokens for one in of_q
    ]


@pytest.mark.parametrize("name", GUIDES)
def test_laws(name):
    laws.check(Guider(ending("llama", 0, {3}), GUIDES[name]), PROMPTS, SAMPLING)


def test_what_it_costs():
    """Each token: a position of the base and of the value model, and for ARGS k alternatives; VAS reads them off."""
    for name, each in {"args": 5, "vas": 0}.items():
        (one,) = generate(Guider(lm("llama", 0), GUIDES[name]), ["ab"], Sampling(max_new_tokens=8))
        assert one.forward_passes == 2 * (len(one.tokens) - 1) + each * len(one.tokens)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ARGS(SCALAR, k=0), "k=0 is out of range; it must be 1 or more"),
        (lambda: VAS(FULL, math.inf), "guidance weight inf is out of range"),
        (lambda: decoded(ARGS(SCALAR, k=25)), "k=25 is above the vocabulary of 24 ids; set k to 24 or less"),
        (lambda: decoded(ARGS(FULL)), "vocab-value-7: ARGS needs a scalar value head; with a full"),
        (lambda: decoded(VAS(SCALAR)), "a scalar value head can't guide tokens"),
        (lambda: decoded(ARGS(lm("gpt2", 4))), "has no value head"),
    ],
)
def test_what_is_refused(make, said):
    with pytest.raises(GuiderError, match=said):
        make()


def decoded(guide):
    return list(generate(Guider(lm("llama", 0), guide), ["ab"], Sampling(max_new_tokens=2)))
