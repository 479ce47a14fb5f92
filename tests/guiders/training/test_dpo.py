"""DPO widens the margin of the implicit reward on pairs that it has not seen."""

import copy
import random

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from guiders.training import dpo, tokenizer
from guiders.training.schedule import Schedule

WORDS = {"chosen": (" good", " fine", " great"), "rejected": (" bad", " poor", " awful")}


def draw(n, seed):
    rng = random.Random(seed)
    return [{"prompt": "it is", **{k: "".join(rng.choices(v, k=3)) for k, v in WORDS.items()}} for _ in range(n)]


@torch.no_grad()
def log_prob(model, letters, prompt, response):
    before, after = letters(prompt)["input_ids"], letters(response)["input_ids"]
    ids = torch.tensor([before + after])
    each = model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
    return each[len(before) - 1 :].sum().item()


def test_the_implicit_reward_prefers_the_chosen_on_held_out_pairs():
    letters = tokenizer.train(["it is" + "".join(v) for v in WORDS.values()] * 4, 300)
    end = letters.eos_token_id
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(letters), n_positions=48, n_embd=16, n_layer=1, n_head=2, bos_token_id=end, eos_token_id=end
    )
    untuned = GPT2LMHeadModel(config).eval()
    rows = draw(64, 0)
    tuned = dpo.train(copy.deepcopy(untuned), letters, rows, Schedule(epochs=3, batch_size=16, learning_rate=3e-3))

    def reward(row, which):
        pair = (row["prompt"], row[which])
        return log_prob(tuned, letters, *pair) - log_prob(untuned, letters, *pair)

    margins = [reward(row, "chosen") - reward(row, "rejected") for row in draw(20, 1)]
    assert min(margins) > 0
