"""A training that stops at any step and starts again ends with the weights of one that never stopped."""

import copy

import pytest
import torch
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

from guiders.models.value_model import ValueModel
from guiders.training import dpo, fudge, reward, sft
from guiders.training.checkpoint import ByLength, Checkpoints
from guiders.training.schedule import Lora, Schedule
from guiders.training.tokenizer import train as train_tokenizer

WORDS = ["good", "bad", "film", "story", "acting", "plot", "slow", "fast", "warm", "cold"]


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([" ".join(WORDS)] * 4, 300)


@pytest.fixture(scope="module")
def rows():
    draw = torch.Generator().manual_seed(0)

    def text(n):
        return "".join(" " + WORDS[i] for i in torch.randint(0, len(WORDS), (n,), generator=draw).tolist())

    return [
        {
            "prompt": "The film",
            "response": text(2 + i % 5),
            "reward": float(i % 3),
            "chosen": text(3),
            "rejected": text(4),
        }
        for i in range(22)
    ]


def config(tokenizer):
    # dropout is on: the random state has to be restored as well
    ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), tokenizer.eos_token_id)
    return GPT2Config(vocab_size=len(tokenizer), n_positions=32, n_embd=16, n_layer=1, n_head=2, **ends)


def made(stage, tokenizer):
    torch.manual_seed(0)
    if stage == "fudge":
        return ValueModel.from_config(config(tokenizer), "vocab")
    if stage == "reward":
        settings = config(tokenizer)
        settings.num_labels = 1
        return GPT2ForSequenceClassification(settings)
    return GPT2LMHeadModel(config(tokenizer))


TRAIN = {"sft": sft.train, "dpo": dpo.train, "dpo-lora": dpo.train, "fudge": fudge.train, "reward": reward.train}


@pytest.mark.parametrize("stage", TRAIN)
def test_stopped_and_started_again_ends_with_the_same_weights(stage, tokenizer, rows, tmp_path):
    schedule = Schedule(epochs=2, batch_size=4, learning_rate=1e-3)  # 12 steps
    more = {"lora": Lora(rank=2, alpha=4)} if stage == "dpo-lora" else {}
    start = made(stage, tokenizer)

    def train(name, progress=None):
        torch.manual_seed(1)
        checkpoints = Checkpoints(tmp_path / name, every=2)
        return TRAIN[stage](
            copy.deepcopy(start), tokenizer, rows, schedule, progress=progress, checkpoints=checkpoints, **more
        )

    seen = []

    def stop_at_nine(_, step, total, __):
        seen.append(step)
        assert total == 12
        if len(seen) == 9:
            raise Stopped

    whole = train("whole").state_dict()
    with pytest.raises(Stopped):
        train("stopped", stop_at_nine)
    again = train("stopped", stop_at_nine).state_dict()
    assert seen == [*range(1, 10), *range(9, 13)], "goes on after the checkpoint of step 8"
    assert whole.keys() == again.keys()
    for name, weight in whole.items():
        assert torch.equal(weight, again[name]), name


def test_a_torn_checkpoint_is_not_taken(tmp_path):
    for step, state in ((10, "{}"), (20, '{"log')):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    (tmp_path / "checkpoint-30").mkdir()
    assert Checkpoints(tmp_path, 10).last() == tmp_path / "checkpoint-10"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-10"]


def test_the_order_is_a_permutation_that_seed_and_epoch_decide_with_like_lengths_together():
    lengths = [i * 7 % 13 for i in range(50)]
    order = ByLength(lengths, 8, seed=3)
    first = list(order)
    assert sorted(first) == list(range(50))
    assert list(ByLength(lengths, 8, seed=3)) == first
    order.set_epoch(1)
    assert list(order) != first
    assert list(ByLength(lengths, 8, seed=4)) != first
    spreads = [
        max(lengths[row] for row in first[at : at + 8]) - min(lengths[row] for row in first[at : at + 8])
        for at in range(0, 50, 8)
    ]
    assert max(spreads) <= 3  # 13 different lengths over 50 rows: 8 neighbours in length span no more
