"""A full-vocabulary value head as token guide, against the formula and against the optimal policy it should give."""

import pytest
import torch
from tiny_models import lm, value

from guiders import Guider, GuiderError, QGuidance, Sampling, generate, token_log_probs


def test_guided_distribution_is_the_base_tilted_by_the_exponential_of_q():
    q, weight = value(kind="vocab"), 1.3
    prompt, tokens = "abc", [4, 1, 9, 20]
    ids = torch.tensor([lm().encode_prompt(prompt) + tokens])
    tilted = lm().model(ids).logits[0].softmax(-1) * (weight * q.model(ids).logits[0]).exp()
    expected = (tilted / tilted.sum(-1, keepdim=True)).log()[2:-1].gather(-1, torch.tensor(tokens)[:, None])[:, 0]
    (got,) = token_log_probs(Guider(lm(), QGuidance(q, weight)), [(prompt, tokens)])
    assert got.log_probs == pytest.approx(expected.tolist(), abs=1e-9)


def test_greedy_decoding_follows_the_same_distribution():
    q = value(kind="vocab")
    (one,) = generate(Guider(lm(), QGuidance(q, 2.0)), ["ab"], Sampling(temperature=0, max_new_tokens=12))
    ids = lm().encode_prompt("ab")
    for token in one.tokens:
        row = torch.tensor([ids])
        assert token == int((lm().model(row).logits[0, -1] + 2.0 * q.model(row).logits[0, -1]).argmax())
        ids.append(token)


def test_a_scalar_head_is_refused_as_a_token_guide():
    with pytest.raises(GuiderError, match="can't guide tokens"):
        list(generate(Guider(lm(), QGuidance(value(kind="scalar"))), ["ab"], Sampling(max_new_tokens=2)))
