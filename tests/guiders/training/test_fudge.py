"""A FUDGE value is the conditional expectation of the reward."""

import itertools
import random

import pytest
import torch
from transformers import GPT2Config

from guiders.errors import GuiderError
from guiders.models.value_model import ValueModel
from guiders.training import fudge, held_out, tokenizer
from guiders.training.schedule import Schedule

COINS = ("a", "b")
WORTH = {"a": 1.0, "b": 0.0}


@pytest.fixture(scope="module")
def letters():
    return tokenizer.train(["abx"], 257)  # the bytes and the end: a space never merges with a letter


def value_model(letters, kind):
    torch.manual_seed(0)
    end = letters.eos_token_id
    config = GPT2Config(
        vocab_size=len(letters),
        n_positions=16,
        n_embd=24,
        n_layer=1,
        n_head=2,
        embd_pdrop=0,
        attn_pdrop=0,
        resid_pdrop=0,
        bos_token_id=end,
        eos_token_id=end,
    )
    return ValueModel.from_config(config, kind)


def prefix_values(model, letters, text):
    """Values after each token of the response ``text`` to the prompt "x"."""
    ids = torch.tensor([letters("x" + text)["input_ids"]])
    return model.prefix_values(ids, start=1)[0, 1:].tolist()


@pytest.mark.parametrize("kind", ["scalar", "vocab"])
def test_two_fair_coins_are_worth_what_is_seen_plus_half_of_what_is_not(letters, kind):
    # r = heads among two fair coins: E[r | y≤t] = heads so far + (2 − t)/2, exactly, if every outcome is given once.
    texts = ["".join(f" {coin}" for coin in coins) for coins in itertools.product(COINS, repeat=2)]
    rows = [{"prompt": "x", "response": t, "reward": sum(WORTH[c] for c in t.split())} for t in texts]
    model = value_model(letters, kind)
    fudge.train(model, letters, rows, Schedule(epochs=400, batch_size=4, learning_rate=1e-2, weight_decay=0.0))
    for text in texts:
        tokens = letters(text)["input_ids"]
        assert len(tokens) == 4  # a space and a letter each: the value may move at the letters alone
        values = prefix_values(model, letters, text)
        for t in (1, 2):
            seen = sum(WORTH[c] for c in text.split()[:t])
            assert values[2 * t - 1] == pytest.approx(seen + (2 - t) / 2, abs=0.03)


def test_binary_rewards_give_the_log_odds(letters):
    # After "a" three of four responses are rewarded, after "b" one of four.
    rows = [{"prompt": "x", "response": c, "reward": int(k < n)} for c, n in (("a", 3), ("b", 1)) for k in range(4)]
    model = value_model(letters, "scalar")
    fudge.train(model, letters, rows, Schedule(epochs=400, batch_size=8, learning_rate=1e-2, weight_decay=0.0))
    for letter, odds in (("a", 3.0), ("b", 1 / 3)):
        assert prefix_values(model, letters, letter)[0] == pytest.approx(torch.tensor(odds).log().item(), abs=0.03)


def test_a_constant_value_has_no_r2_and_orders_half_of_the_pairs(letters):
    rows = [{"prompt": "x", "response": "a b a", "reward": r} for r in (-1.0, 0.0, 1.0)]
    figures = held_out.evaluate(value_model(letters, "scalar"), letters, rows)  # a fresh head says 0, the mean reward
    assert figures["r2"] == pytest.approx(dict.fromkeys(held_out.FRACTIONS, 0.0))
    assert figures["pairwise"] == pytest.approx(dict.fromkeys(held_out.FRACTIONS, 0.5))


def test_every_row_is_in_one_batch_and_rows_of_like_length_are_together():
    rows = [([0] * n, 1, float(n)) for n in random.Random(0).sample(range(2, 66), 64)]
    batches = list(fudge._batches(rows, 8, random.Random(1)))
    assert sorted(row[2] for batch in batches for row in batch) == sorted(row[2] for row in rows)
    assert all(max(len(ids) for ids, _, _ in b) - min(len(ids) for ids, _, _ in b) == 7 for b in batches)


@pytest.mark.parametrize(
    ("rows", "options", "culprit"),
    [
        ([], {}, "no rows"),
        ([{"prompt": "x", "response": "a"}], {}, "row 1 has no 'reward'"),
        ([{"prompt": "x", "response": "a", "reward": float("nan")}], {}, "row 1 has the reward nan"),
        ([{"prompt": "x", "response": "a", "reward": 2.0}], {"loss": "bce"}, "between 0 and 1"),
        ([{"prompt": "x", "response": "a", "reward": 2.0}], {"loss": "mae"}, "'mae' is unknown"),
    ],
)
def test_bad_rows_are_named(letters, rows, options, culprit):
    with pytest.raises(GuiderError, match=culprit):
        fudge.train(value_model(letters, "scalar"), letters, rows, Schedule(), **options)
