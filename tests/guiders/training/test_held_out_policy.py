"""Held-out figures of language models and reward models, against their definitions row by row."""

import math

import pytest
import torch
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

from guiders.training import held_out
from guiders.training.tokenizer import train as train_tokenizer

ROWS = [
    {"prompt": "A film", "response": " that is slow", "chosen": " that is warm", "rejected": " slow"},
    {
        "prompt": "",
        "response": "It was a long cold winter",
        "chosen": "It was",
        "rejected": "It was a long cold winter",
    },
    {"prompt": "One", "response": " x", "chosen": " x", "rejected": " y z"},
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([row["prompt"] + row["response"] for row in ROWS] * 3, 290)


def config(tokenizer):
    ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), tokenizer.eos_token_id)
    return GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=16, n_layer=2, n_head=2, num_labels=1, **ends)


def test_likelihood_is_the_tokens_own_without_the_prompts_and_with_the_end(tokenizer):
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config(tokenizer)).eval()
    sums, tokens = [], 0
    for row in ROWS:
        before = tokenizer(row["prompt"])["input_ids"]
        ids = before + tokenizer(row["response"])["input_ids"] + [tokenizer.eos_token_id]
        with torch.no_grad():
            log_probs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        # the first token of a text without a prompt is predicted by nothing
        places = range(max(1, len(before)), len(ids))
        sums.append(sum(log_probs[place - 1, ids[place]].item() for place in places))
        tokens += len(places)
    found = held_out.likelihood(model, tokenizer, ROWS)
    assert found["loss"] == pytest.approx(-sum(sums) / tokens, abs=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert held_out.log_probs(model, tokenizer, ROWS, "response").tolist() == pytest.approx(sums, abs=1e-4)


def test_preference_counts_a_tie_half():
    found = held_out.preference(torch.tensor([1.0, -2.0, 0.0, 3.0]))
    assert found == {"accuracy": (1 + 0 + 0.5 + 1) / 4, "margin": 0.5}


def test_reward_margins_are_each_pairs_alone(tokenizer):
    torch.manual_seed(0)
    model = GPT2ForSequenceClassification(config(tokenizer)).eval()
    found = held_out.reward_margins(model, tokenizer, ROWS)
    for margin, row in zip(found, ROWS, strict=True):
        with torch.no_grad():
            rewards = [
                model(torch.tensor([tokenizer(row["prompt"] + row[side])["input_ids"]])).logits.item()
                for side in ("chosen", "rejected")
            ]
        assert margin == pytest.approx(rewards[0] - rewards[1], abs=1e-5)
