"""``alpaca_eval.evaluate_from_model`` generates with the guided model, offline."""

import json
import os

import pytest

from harness.adapters.alpaca_eval import AlpacaEvalDecoder, model_config
from harness.errors import UserError


@pytest.fixture(scope="module")
def overrides(tiny) -> list[str]:
    return [*(one for one in tiny if one.startswith("model")), "preset=none", "guider=eft", "grid.weight=2"]


def test_evaluate_from_model_generates_with_our_decoder(overrides, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    alpaca_eval = pytest.importorskip("alpaca_eval")
    package = os.path.dirname(alpaca_eval.__file__)
    before = files(package)
    rows = [
        {"instruction": text, "output": "No.", "generator": "reference", "dataset": "made up"}
        for text in ("Name a film", "What of the acting?", "Say {nothing}")
    ]
    captured = {}

    def evaluate(model_outputs, reference_outputs, **more):
        """AlpacaEval's judging asks an API; what it is given is what is held here."""
        captured.update(model=model_outputs, reference=reference_outputs)

    monkeypatch.setattr("alpaca_eval.main.evaluate", evaluate)
    alpaca_eval.evaluate_from_model(
        model_configs=model_config("eft-2", overrides, max_tokens=6, temperature=0.7),
        evaluation_dataset=rows,
        output_path=tmp_path,
        is_strip_output=False,
    )
    written = json.loads((tmp_path / "model_outputs.json").read_text())
    assert [row["instruction"] for row in written] == [row["instruction"] for row in rows]
    assert {row["generator"] for row in written} == {"eft-2"}
    ours = AlpacaEvalDecoder(overrides)([row["instruction"] for row in rows], max_tokens=6, temperature=0.7)
    assert [row["output"] for row in written] == ours["completions"]
    assert all(ours["completions"])
    assert len(captured["model"]) == len(captured["reference"]) == 3
    assert files(package) == before


def files(folder: str) -> set[str]:
    return {
        os.path.join(where, name) for where, _, names in os.walk(folder) for name in names if not name.endswith(".pyc")
    }


def test_the_decoder_gives_one_of_each_per_prompt_in_order(overrides):
    decoder = AlpacaEvalDecoder(overrides)
    prompts = ["The acting", "A", "I watched this film"]
    found = decoder(prompts, max_tokens=5, temperature=1.0)
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys(found, 3)
    assert decoder(prompts[::-1], max_tokens=5, temperature=1.0)["completions"] == found["completions"][::-1]
    assert decoder(prompts, max_tokens=5, temperature=1.0, seed=9)["completions"] != found["completions"]
    greedy = decoder(prompts, max_tokens=5, temperature=0)["completions"]
    assert decoder(prompts, max_tokens=5, temperature=1.0, min_p=1.0)["completions"] == greedy
    assert AlpacaEvalDecoder([*overrides, "sampling.min_p=1.0"])(prompts, max_tokens=5, seed=4)["completions"] == greedy
    with pytest.raises(UserError, match="num_beams"):
        decoder(prompts, num_beams=4)
