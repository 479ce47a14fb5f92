"""CAAD against its definition with plain forward passes: mean-pooled vectors, cosines, the mean of stored logits."""

import json
import math

import pytest
import torch
from tiny_models import ending, lm, value

from guiders import CAAD, Encoder, Guider, GuiderError, Sampling, generate, laws, token_log_probs

torch.set_num_threads(1)
PROMPTS, SAMPLING = ["ab", "hello", "q"], Sampling(max_new_tokens=5, seed=3, temperature=0.9)
ANSWERS = [{"prompt": "ab", "response": "cde"}, {"prompt": "hello", "response": "mn"}]
VALUE = value()


@torch.inference_mode()
def logits_after(base, ids):
    return base.model(torch.tensor([ids])).logits[0, -1].double()


@torch.inference_mode()
def vector(text):
    ids = VALUE.tokenizer(text)["input_ids"]
    states = VALUE.model.backbone(input_ids=torch.tensor([ids])).last_hidden_state[0].double().mean(0)
    return states / states.norm()


def by_definition(base, ids, weight, contexts):
    """The guided logits after a text, from nothing but the models."""
    stored = []
    for row in ANSWERS:
        prompt, answer = base.encode_prompt(row["prompt"]), base.encode_text(row["response"], special=False)
        stored += [[*prompt, *answer[:t]] for t in range(len(answer))]
    here = vector(base.decode(ids))
    order = sorted(range(len(stored)), key=lambda i: -float(here @ vector(base.decode(stored[i]))))
    mean = sum(logits_after(base, stored[i]) for i in order[:contexts]) / contexts
    return logits_after(base, ids) + weight * mean


@pytest.mark.parametrize("contexts", [1, 3])
def test_the_guided_distribution_is_the_definition_s(contexts):
    base, tokens = lm("llama", 0), [4, 0, 2, 9]
    found = token_log_probs(Guider(base, CAAD(VALUE, ANSWERS, 0.7, contexts)), [("hi", tokens)])[0].log_probs
    ids = base.encode_prompt("hi")
    expected = []
    for t, token in enumerate(tokens):
        expected.append(float(by_definition(base, ids + tokens[:t], 0.7, contexts).log_softmax(-1)[token]))
    assert found == pytest.approx(expected, abs=1e-6)


def test_weight_zero_is_the_base_and_needs_no_encoder():
    base = ending("llama", 0, {3})
    plain = [one.tokens for one in laws.decode(Guider(base), PROMPTS, SAMPLING)]
    assert [one.tokens for one in laws.decode(Guider(base, CAAD(VALUE, ANSWERS, 0.0)), PROMPTS, SAMPLING)] == plain


def test_one_stored_text_is_written_at_a_large_weight():
    """Stored: the base's likeliest text after "q". At temperature 1 it is written, and not without the guide."""
    base = lm("llama", 0)
    ids = base.encode_prompt("q")
    text = list(ids)
    for _ in range(6):
        text.append(int(logits_after(base, text).argmax()))
    stored = [{"prompt": "q", "response": base.decode(text[len(ids) :])}]
    assert base.encode_text(stored[0]["response"], special=False) == text[len(ids) :]
    for seed in range(3):
        sampling = Sampling(max_new_tokens=6, seed=seed)
        (guided,) = generate(Guider(base, CAAD(VALUE, stored, 1e6, 1)), ["q"], sampling)
        (plain,) = generate(Guider(base), ["q"], sampling)
        assert list(guided.tokens) == text[len(ids) :]
        assert plain.tokens != guided.tokens


def test_laws():
    laws.check(Guider(ending("llama", 0, {3}), CAAD(VALUE, ANSWERS, 0.7, 2)), PROMPTS, SAMPLING)


def test_the_text_is_encoded_anew_before_each_token():
    base = lm("llama", 0)
    (one,) = generate(Guider(base, CAAD(VALUE, ANSWERS, 0.7)), ["hello"], Sampling(max_new_tokens=4))
    ids = base.encode_prompt("hello")
    read = sum(len(VALUE.tokenizer(base.decode([*ids, *one.tokens[:t]]))["input_ids"]) for t in range(len(one.tokens)))
    assert one.forward_passes == len(one.tokens) - 1 + read


def test_answers_from_a_file_and_an_encoder_of_its_own(tmp_path):
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ANSWERS))
    guider = [
        Guider(lm("llama", 0), CAAD(one, rows, 0.7)) for one, rows in ((Encoder.of(VALUE), str(file)), (VALUE, ANSWERS))
    ]
    first, second = (token_log_probs(one, [("hi", [4, 0])])[0].log_probs for one in guider)
    assert first == second


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("encoder", ANSWERS), "encoder is a str; load one with Encoder.load"),
        ((VALUE, ANSWERS, math.nan), "weight=nan is out of range; it must be a finite number"),
        ((VALUE, ANSWERS, 1.0, 0), "contexts=0 is out of range; it must be 1 or more"),
        ((VALUE, []), "answers are empty"),
        ((VALUE, [{"prompt": "a"}]), "answers hold {'prompt': 'a'}; each is"),
        ((VALUE, "no_such.jsonl"), "answers=no_such.jsonl: .*No such file"),
    ],
)
def test_what_is_refused(arguments, said):
    with pytest.raises(GuiderError, match=f"^CAAD: {said}"):
        CAAD(*arguments)
