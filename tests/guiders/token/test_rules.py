"""Hand-written rules, against closed forms and transformers' own biases."""

import json
import math

import pytest
import torch
from tiny_models import END, VOCAB, byte_lm, ending, lm
from transformers import SequenceBiasLogitsProcessor

from guiders import Guider, GuiderError, Rules, Sampling, generate, laws, token_log_probs

torch.set_num_threads(1)
PROMPTS, SAMPLING = ["ab", "hello there", "q"], Sampling(max_new_tokens=9, seed=3, temperature=0.9)
RULES = Rules({"a": 1.0, "c": -2.0}, {"b": 3.0}, end=15.0, ramp=6, seen=-1.5)


def steps(base, tokens, prompt="ab"):
    """The base's logits ``[V]`` before every token."""
    ids = base.encode_prompt(prompt)
    return [base.model(torch.tensor([ids + tokens[:t]])).logits[0, -1].detach() for t in range(len(tokens))]


def scored(guide, tokens, base=None):
    return token_log_probs(Guider(base or lm(), guide), [("ab", tokens)])[0].log_probs


def test_words_are_transformers_sequence_biases(tmp_path):
    tokens = [4, 0, 2, 9]
    file = tmp_path / "words.json"
    file.write_text(json.dumps({"a": 1.0, "c": -2.0, "v": 0.5}))
    theirs = SequenceBiasLogitsProcessor([[[0], 1.0], [[2], -2.0], [[21], 0.5]])
    expected = [
        float(theirs(torch.tensor([[1]]), logits[None])[0].log_softmax(-1)[token])
        for logits, token in zip(steps(lm(), tokens), tokens, strict=True)
    ]
    assert scored(Rules(str(file)), tokens) == pytest.approx(expected, abs=1e-9)
    assert scored(Rules({"a": 1.0, "c": -2.0, "v": 0.5}), tokens) == pytest.approx(expected, abs=1e-9)


def test_the_end_has_a_closed_form_in_the_number_of_tokens():
    """p e^b / (1 − p + p e^b) with b = 15 n / ramp, and no bias from the ramp's end on."""
    for n in range(10):
        tokens = [*[3, 5, 7, 1, 2, 8, 3, 4, 6][:n], END]
        p = float(steps(lm(), tokens)[-1].softmax(-1)[END])
        bias = 15 * n / 6 if n < 6 else 0.0
        exact = p * math.exp(bias) / (1 - p + p * math.exp(bias))
        assert scored(Rules(end=15.0, ramp=6), tokens)[-1] == pytest.approx(math.log(exact), abs=1e-9)


def test_the_first_word_and_seen_ids_by_hand():
    tokens = [1, 5, 5, 1, 5, 2]
    found = scored(Rules(first={"b": 3.0, " ": -1.0}, seen=-1.5), tokens)
    for t, logits in enumerate(steps(lm(), tokens)):
        if t == 0:
            logits[1] += 3.0
            logits[VOCAB - 2] -= 1.0
        for seen in set(tokens[:t]):  # once, however often it has come
            logits[seen] -= 1.5
        assert found[t] == pytest.approx(float(logits.log_softmax(-1)[tokens[t]]), abs=1e-9)


def test_no_rules_are_the_base():
    base = ending("llama", 0, {3})
    plain = laws.decode(Guider(base), PROMPTS, SAMPLING)
    assert [one.tokens for one in laws.decode(Guider(base, Rules()), PROMPTS, SAMPLING)] == [
        one.tokens for one in plain
    ]


def test_laws():
    laws.check(Guider(ending("llama", 0, {3}), RULES), PROMPTS, SAMPLING)


def test_rules_cost_nothing():
    (one,) = generate(Guider(lm(), RULES), ["ab"], Sampling(max_new_tokens=8))
    assert one.forward_passes == len(one.tokens) - 1


def test_what_is_refused(tmp_path):
    with pytest.raises(GuiderError, match="rules: 'ab' is 2 tokens of gpt2-0; give a string that is one token"):
        Guider(lm(), Rules({"ab": 1.0}))
    with pytest.raises(GuiderError, match="rules: 'é' is 2 tokens of bytes-0"):
        Guider(byte_lm(), Rules(first={"é": 1.0}))
    with pytest.raises(GuiderError, match="rules: '' is 0 tokens"):
        Guider(lm(), Rules({"": 1.0}))
    with pytest.raises(GuiderError, match=r"words=nowhere\.json: .*No such file.*; give a JSON file"):
        Rules("nowhere.json")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(GuiderError, match="is no table"):
        Rules(str(tmp_path / "list.json"))
    with pytest.raises(GuiderError, match="is no table"):
        Rules({"a": math.inf})
    with pytest.raises(GuiderError, match="ramp=0 is out of range"):
        Rules(ramp=0)
