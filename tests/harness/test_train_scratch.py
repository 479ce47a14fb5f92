"""A base from nothing: `base=new:…`."""

import json

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.cli import main


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    texts = [f"a film about the {i % 7} long winters of {i}" for i in range(120)]
    path.write_text("".join(json.dumps({"prompt": "", "response": text}) + "\n" for text in texts))
    return path


def test_a_new_gpt2_with_its_own_byte_level_bpe(rows, tmp_path):
    out = tmp_path / "base"
    fast = ["train.learning_rate=0.01", "train.epochs=4", "train.batch_size=8", "data.max_length=64", "held_out=0.1"]
    assert main(["train", "train=sft", f"data={rows}", "base=new:16x2x2x300", f"out={out}", *fast]) == 0
    tokenizer, model = AutoTokenizer.from_pretrained(out), AutoModelForCausalLM.from_pretrained(out)
    shape = (model.config.n_embd, model.config.n_layer, model.config.n_head, model.config.n_positions)
    assert shape == (16, 2, 2, 64)
    assert len(tokenizer) <= 300
    text = "bytes: ž 猫 \n"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    # uniform over the vocabulary would be ln(300) = 5.7 nats a token
    assert json.loads((out / "training" / "sft.json").read_text())["loss"] < 4.5


@pytest.mark.parametrize("base", ["new:16", "new:15x2x2x300", "new:16x2x2x100", "new:16x0x2x300"])
def test_another_form_is_refused_with_an_example(base, rows, tmp_path, capsys):
    assert main(["train", "train=sft", f"data={rows}", f"base={base}", f"out={tmp_path / 'out'}"]) == 2
    assert "such as new:192x4x6x2000" in capsys.readouterr().err
