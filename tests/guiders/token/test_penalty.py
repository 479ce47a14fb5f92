"""Penalty decoding, against transformers' repetition penalty on the window's ids."""

import pytest
import torch
from tiny_models import END, ending, lm
from transformers import RepetitionPenaltyLogitsProcessor

from guiders import Guider, GuiderError, Penalty, Sampling, generate, laws, token_log_probs

torch.set_num_threads(1)
PROMPTS, SAMPLING = ["ab", "hello there", "q"], Sampling(max_new_tokens=9, seed=3, temperature=0.9)
TOKENS = [4, 1, 4, 9, 1, 1, 7, 4]


@pytest.mark.parametrize("window", [1, 3, None])
def test_it_is_transformers_penalty_on_the_last_tokens(window):
    base, theta = lm("gpt2", 0, 1.0), 1.7
    (found,) = token_log_probs(Guider(base, Penalty(theta, window)), [("ab", TOKENS)])
    theirs = RepetitionPenaltyLogitsProcessor(theta)
    for t, token in enumerate(TOKENS):
        logits = base.model(torch.tensor([[*base.encode_prompt("ab"), *TOKENS[:t]]])).logits[:, -1].detach()
        recent = TOKENS[:t][-(window or 100) :]
        guided = theirs(torch.tensor([recent], dtype=torch.long), logits) if recent else logits
        assert found.log_probs[t] == pytest.approx(float(guided[0].log_softmax(-1)[token]), abs=1e-9)


def test_ids_outside_of_the_window_are_untouched_and_inside_they_are_not():
    base = lm("gpt2", 0, 1.0)
    near, far = (token_log_probs(Guider(base, Penalty(3.0, w)), [("ab", [4, 1, 2, 4])])[0] for w in (3, 2))
    plain = token_log_probs(Guider(base), [("ab", [4])])[0]
    assert near.log_probs[0] == far.log_probs[0] == pytest.approx(plain.log_probs[0])
    assert near.log_probs[3] != pytest.approx(far.log_probs[3], abs=1e-3)


def test_an_early_end_loses_and_a_late_one_does_not():
    base = lm()
    ids = base.encode_prompt("ab")
    for n in range(6):
        tokens = [*[5, 6, 7, 8, 9, 10][:n], END]
        logits = base.model(torch.tensor([ids + tokens[:-1]])).logits[0, -1].detach()
        logits[END] -= 2.0 * max(0, 1 - n / 4)
        (found,) = token_log_probs(Guider(base, Penalty(1.0, end=2.0, least=4)), [("ab", tokens)])
        assert found.log_probs[-1] == pytest.approx(float(logits.log_softmax(-1)[END]), abs=1e-9)


@pytest.mark.parametrize("off", [Penalty(1.0), Penalty(3.0, 0), Penalty(2.0, 5, 1.0).off()])
def test_off_is_the_base(off):
    base = ending("llama", 0, {3})
    plain = laws.decode(Guider(base), PROMPTS, SAMPLING)
    assert [one.tokens for one in laws.decode(Guider(base, off), PROMPTS, SAMPLING)] == [one.tokens for one in plain]


def test_laws():
    laws.check(Guider(ending("llama", 0, {3}), Penalty(1.5, 4, 1.0, 5)), PROMPTS, SAMPLING)


def test_it_costs_nothing():
    (one,) = generate(Guider(lm(), Penalty()), ["ab"], Sampling(max_new_tokens=8))
    assert one.forward_passes == len(one.tokens) - 1


@pytest.mark.parametrize("settings", [{"theta": 0.0}, {"window": -1}, {"end": float("nan")}, {"least": 0}])
def test_what_is_out_of_range(settings):
    with pytest.raises(GuiderError, match=f"penalty: {next(iter(settings))}=.* is out of range; it must be"):
        Penalty(**settings)
