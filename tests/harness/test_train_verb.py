"""`python -m harness train` from data to a model that guides, killed on its way and started again."""

import csv
import json
import time
from pathlib import Path

import forked
import pytest
import torch
from safetensors.torch import load_file

from guiders import LM
from harness.cli import main
from harness.models.pool import Pool, Resolver
from harness.trials.grid import settings_of

ROOT = Path(__file__).resolve().parents[2]
SCORE = "def score(prompts, responses, letter='e'):\n    return [r.count(letter) / (1 + len(r)) for r in responses]\n"


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Preferences and rewards: the more an answer says of "good", the better."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    draw = torch.Generator().manual_seed(0)
    with path.open("w") as lines:
        for i in range(160):
            counts = torch.randint(0, 4, (2,), generator=draw).tolist()
            best, worst = (" good" * max(counts) + " film", " good" * min(counts) + " bad film")
            row = {"prompt": f"The film {i % 40}", "response": best, "reward": max(counts)}
            lines.write(json.dumps({**row, "chosen": best, "rejected": worst}) + "\n")
    return path


def train(*overrides, capsys=None):
    fast = ["checkpoint_every=4", "held_out=0.2", "data.max_length=64"]
    code = main(["train", *fast, *map(str, overrides)])
    return code, capsys.readouterr() if capsys else None


def guider(name, *overrides):
    from harness.config.compose import compose
    from harness.config.schema import Sweep, validated

    composed = compose("sweep", [f"guider={name}", "model=hf", *overrides])
    settings = settings_of(validated(Sweep, composed.config), composed.guider_overrides)
    return Pool(Resolver()).guider(settings[-1].config)


@pytest.mark.parametrize("head", ["scalar", "vocab"])
def test_the_value_is_learned_and_is_what_guider_ivg_loads(head, rows, tiny_models, tmp_path, capsys):
    out = tmp_path / "value"
    fast = ["train.epochs=30", "train.batch_size=16", "train.learning_rate=0.01"]
    where = [f"data={rows}", f"base={tiny_models['base']}", f"out={out}"]
    code, said = train("train=fudge", f"train.head={head}", *fast, *where, capsys=capsys)
    assert code == 0
    last = said.out.strip().splitlines()[-1]
    assert last.startswith(f"{out}: a value model")
    assert "R²" in last
    summary = json.loads((out / "training" / "summary.json").read_text())
    # the reward is the number of "good"s, which the whole response says
    assert summary["held_out"]["fudge"]["pairwise"]["1"] > 0.9
    assert summary["held_out"]["fudge"]["r2"]["1"] > summary["held_out"]["fudge"]["r2"]["0.25"]
    assert not list(out.rglob("*.bin"))
    assert not list(out.rglob("*.pt"))
    model = {role: f"model.{role}={tiny_models[role]}" for role in ("base", "tuned", "untuned", "value")}
    built = guider("ivg", *model.values(), f"guider.value.model={out}")
    assert built.value.model.model.kind == head
    again, said = train("train=fudge", f"train.head={head}", *fast, *where, capsys=capsys)
    assert again == 0
    assert said.out.strip().splitlines()[-1].split("held out")[1] == last.split("held out")[1]


@pytest.mark.filterwarnings("error:Could not find a config file")
def test_a_lora_pair_shares_its_weights_and_has_learned_the_preference(
    rows, tiny_models, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "pair"
    code, said = train(
        "train=pair", "train.sft.epochs=2", "train.sft.learning_rate=0.01", "train.dpo.epochs=6",
        "train.dpo.lora.rank=4", "train.dpo.learning_rate=0.01", f"data={rows}",
        f"base={tiny_models['base']}", f"out={out}", capsys=capsys,
    )  # fmt: skip
    assert code == 0
    figures = json.loads((out / "training" / "summary.json").read_text())["held_out"]
    assert figures["dpo"]["accuracy"] > 0.8
    assert figures["dpo"]["bytes_shared"] < figures["dpo"]["bytes_two_models"]
    assert f"{figures['dpo']['bytes_shared']:,} bytes" in said.out
    built = guider(
        "eft",
        f"model.base={tiny_models['base']}",
        f"model.tuned={out / 'tuned'}",
        f"model.untuned={out / 'untuned'}",
    )
    tuned, untuned = built.token.tuned, built.token.untuned
    assert tuned.model.shared is untuned.model
    moved = tmp_path / "moved"
    out.rename(moved)
    monkeypatch.chdir(tmp_path)
    assert LM.load("moved/tuned").model.shared.name_or_path == str(moved / "untuned")
    moved.rename(out)
    fresh = LM.load(str(out / "untuned"))
    ids = torch.tensor([fresh.encode_prompt("The film 3")])
    assert torch.equal(untuned.model(input_ids=ids).logits, fresh.model(input_ids=ids).logits)
    assert not torch.allclose(tuned.model(input_ids=ids).logits, fresh.model(input_ids=ids).logits, atol=1e-3)


def test_a_reward_model_judges_and_prefers_what_was_chosen(rows, tiny_models, tmp_path):
    out = tmp_path / "reward"
    fast = ["train.epochs=10", "train.learning_rate=0.01", "train.batch_size=16"]
    assert train("train=reward", *fast, f"data={rows}", f"base={tiny_models['base']}", f"out={out}")[0] == 0
    assert json.loads((out / "training" / "reward.json").read_text())["accuracy"] > 0.9
    from harness.judges.reward_model import RewardModel

    better, worse = RewardModel(str(out))([("The film 3", " good good film"), ("The film 3", " bad film")])
    assert better > worse


def test_rounds_sample_from_the_policy_that_the_value_so_far_guides(rows, tiny_models, tmp_path, capsys):
    (tmp_path / "score.py").write_text(SCORE)
    out = tmp_path / "all"
    code, said = train(
        "train=all", "train.dpo.lora.rank=2", "train.fudge.rounds=2", "train.fudge.samples=24", "train.fudge.epochs=4",
        f"train.fudge.reward={tmp_path / 'score.py'}:score", "+train.fudge.reward_args.letter=o",
        "train.fudge.learning_rate=0.01", "train.fudge.sampling.max_new_tokens=6", "train.fudge.search.length=3",
        f"data={rows}", f"base={tiny_models['base']}", f"out={out}", capsys=capsys,
    )  # fmt: skip
    assert code == 0, said
    rounds = [[json.loads(line) for line in (out / "training" / f"round-{n}.jsonl").open()] for n in (1, 2)]
    assert [len(each) for each in rounds] == [24, 24]
    assert {row["prompt"] for row in rounds[0]} != {row["prompt"] for row in rounds[1]}
    for row in (row for each in rounds for row in each):
        assert row["reward"] == pytest.approx(row["response"].count("o") / (1 + len(row["response"])))
    assert {path.name for path in out.iterdir()} == {"untuned", "tuned", "value", "training"}


def test_killed_at_any_moment_it_goes_on_and_ends_with_the_same_weights(rows, tiny_models, tmp_path):
    """SIGKILL as soon as a checkpoint is there, then to the end; and once without a stop."""

    def command(out):
        return [
            "train", "train=sft", "train.epochs=6", "train.batch_size=4",
            "train.learning_rate=0.001", "checkpoint_every=20", "held_out=0.2", "data.max_length=64", f"data={rows}",
            f"base={tiny_models['base']}", f"out={out}",
        ]  # fmt: skip

    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # sums round by how they are split
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = forked.start(command(killed), tmp_path, **threads)
    deadline = time.monotonic() + 100
    while not list(killed.glob("training/sft/checkpoint-*/trainer_state.json")):
        assert process.is_alive(), "ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.join()
    assert not (killed / "model.safetensors").exists()
    with (killed / "training" / "metrics.csv").open() as lines:
        before = list(csv.DictReader(lines))
    for out in (killed, whole):
        assert forked.run(command(out), tmp_path, **threads).returncode == 0
    ours, theirs = (load_file(out / "model.safetensors") for out in (killed, whole))
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    with (killed / "training" / "metrics.csv").open() as lines:
        steps = [int(row["step"]) for row in csv.DictReader(lines)]
    assert steps == list(range(1, steps[-1] + 1)), "every step stands in the table once"
    assert 20 <= len(before) < len(steps)
    assert not (killed / "training" / "sft").exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["train=fudg"], "did you mean 'fudge'"),
        (["train=fudge", "train.rounds=2"], "set train.reward=module:function"),
        (["train=fudge", "train.reward=nowhere:score"], "does not import"),
        (["train.learning_rate=-1"], "learning_rate=-1: input should be greater than 0"),
        (["train.epoch=3"], "did you mean 'train.epochs'"),
        (["base=nowhere/at/all"], "no such model folder"),
        (["base.path=null"], "base: not set"),
        (["data.response=answer"], "no column 'chosen'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(overrides, said, rows, tiny_models, tmp_path, capsys):
    plain = tmp_path / "plain.jsonl"
    plain.write_text("".join(json.dumps({"prompt": str(i), "response": " x", "reward": i}) + "\n" for i in range(40)))
    code, out = train(
        f"data={plain}", f"base={tiny_models['base']}", f"out={tmp_path / 'out'}", *overrides, capsys=capsys
    )
    assert code == 2
    assert said in out.err
    assert len(out.err.strip().splitlines()) == 1


def test_a_training_that_failed_at_once_does_not_block_the_mended_one(rows, tiny_models, tmp_path, capsys):
    where = ["train=fudge", f"data={rows}", f"out={tmp_path / 'out'}"]
    for base in ("./nowhere", "new:16x1x3x300"):
        assert train(*where, f"base={base}", capsys=capsys)[0] == 2
    code, said = train(*where, f"base={tiny_models['base']}", capsys=capsys)
    assert code == 0, said.err


def test_a_folder_with_another_training_is_refused(rows, tiny_models, tmp_path, capsys):
    where = [f"data={rows}", f"base={tiny_models['base']}", f"out={tmp_path / 'out'}"]
    assert train("train=fudge", *where, capsys=capsys)[0] == 0
    code, said = train("train=fudge", "train.epochs=2", *where, capsys=capsys)
    assert code == 2
    assert "another train.epochs" in said.err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    code, said = train("train=fudge", *where[:2], f"out={tmp_path / 'mine'}", capsys=capsys)
    assert code == 2
    assert "not empty" in said.err
