"""The paper's presets: composed, held to the paper's settings, and run from end to end with tiny models."""

import gzip
import json
import os
from pathlib import Path

import pytest

from harness.cli import main
from harness.config.compose import compose
from harness.config.schema import Sweep, validated
from harness.trials.grid import settings_of

SHARED = Path(os.environ.get("SHARED_DIR", Path(__file__).resolve().parents[3] / "shared"))
REFERENCE = SHARED / "data" / "alpaca_eval" / "outputs" / "gpt4_1106_preview.json.gz"
ALL = {"base", "best_of_n_explicit", "best_of_n_implicit", "eft", "chunk_implicit", "chunk_explicit", "ivg"}
# Liu et al. (2024): rows W·K, chunk length, temperature, new tokens
PAPER = {
    "paper_imdb": (4, 4, 5, 0.7, 50),
    "paper_tldr": (4, 4, 5, 0.7, 128),
    "paper_alpaca_tulu": (2, 2, 30, 0.7, 2048),
    "paper_alpaca_ultra": (2, 2, 30, 0.7, 2048),
}


@pytest.fixture(scope="module", autouse=True)
def tiny_cache(tmp_path_factory):
    before = os.environ.get("HARNESS_CACHE")
    os.environ["HARNESS_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["HARNESS_CACHE"]
    else:
        os.environ["HARNESS_CACHE"] = before


def sweep(preset, *overrides):
    composed = compose("sweep", [f"preset={preset}", *overrides])
    spec = validated(Sweep, composed.config)
    return spec, settings_of(spec, composed.guider_overrides)


@pytest.mark.parametrize("preset", PAPER)
def test_the_settings_are_the_papers(preset):
    width, successors, length, temperature, tokens = PAPER[preset]
    spec, settings = sweep(preset)
    assert (spec.grid.width, spec.grid.successors, spec.grid.length) == ([width], [successors], [length])
    assert spec.grid.n == [width * successors], "every method at the same cost"
    assert (spec.sampling.temperature, spec.sampling.top_k, spec.sampling.top_p) == (temperature, 0, 1.0)
    assert spec.sampling.max_new_tokens == tokens
    methods = {setting.method for setting in settings}
    assert methods == (ALL - {"eft", "ivg"} if preset == "paper_alpaca_tulu" else ALL)
    if tokens == 2048:
        assert spec.model["base"].max_length == 2048, "in all, prompt included"
        assert spec.model["value"].template == "\n\nHuman: {prompt}\n\nAssistant:"


@pytest.mark.parametrize("preset", ["paper_imdb", "paper_tldr"])
def test_a_preset_runs_from_end_to_end_with_tiny_models(preset, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", f"preset={preset}", "models=tiny", "seeds=[0]", "grid.weight=[1]"]) == 0
    rows = json.loads((tmp_path / "runs" / preset / "report" / "summary.json").read_text())
    test = [row for row in rows if row["split"] == "test"]
    assert {row["method"] for row in test} == ALL
    assert all(row["gold_reward"]["mean"] is not None and row["n_prompts"] <= 4 for row in test)
    # once more: nothing is generated
    capsys.readouterr()
    assert main(["sweep", f"preset={preset}", "models=tiny", "seeds=[0]", "grid.weight=[1]"]) == 0
    assert "nothing to generate" in capsys.readouterr().out


def test_the_gold_reward_is_the_classifiers_of_prompt_and_response(tmp_path, monkeypatch):
    from guiders import Classifier
    from harness.models.tiny import folder

    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "preset=paper_imdb", "models=tiny", "seeds=[0]", "guider=base", "select.metric=null"]) == 0
    run = tmp_path / "runs" / "paper_imdb"
    (records,) = (run / "records").glob("*.jsonl")
    texts = {row["key"]: row["prompt"] + row["response"] for row in map(json.loads, records.open())}
    scores = {row["key"]: row["scores"] for row in map(json.loads, (run / "scores" / records.name).open())}
    gold = Classifier.load(folder("lvwerra/distilbert-imdb"), template="{response}")
    for key, text in texts.items():
        assert scores[key]["gold_reward"] == pytest.approx(gold.rewards([("", text)]).item(), abs=1e-5)


@pytest.fixture(scope="module")
def instructions(tmp_path_factory):
    if not REFERENCE.is_file():
        pytest.skip(f"AlpacaEval's instructions are not in {SHARED}; set SHARED_DIR")
    path = tmp_path_factory.mktemp("alpaca") / "instructions.json"
    path.write_bytes(gzip.decompress(REFERENCE.read_bytes()))
    return path


@pytest.mark.parametrize("preset", ["paper_alpaca_tulu", "paper_alpaca_ultra"])
def test_the_alpaca_presets_run_with_tiny_models_and_keep_the_published_figures(
    preset, instructions, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", f"preset={preset}", "models=tiny", f"task.data={instructions}"]) == 0
    run = tmp_path / "runs" / preset
    rows = json.loads((run / "report" / "summary.json").read_text())
    assert {row["method"] for row in rows} == (ALL - {"eft", "ivg"} if preset == "paper_alpaca_tulu" else ALL)
    page = (run / "report" / "index.html").read_text()
    if preset == "paper_alpaca_tulu":  # for Mistral: 19.51, and 26.51 with Tulu guidance
        assert "<td>19.51</td><td>26.51</td>" in page
        assert "25.58" not in page, "which is Mixtral's"
    else:
        assert "Published figures" not in page


@pytest.mark.parametrize("guider", ["eft", "ivg"])
def test_token_guidance_of_mistral_by_llama_models_is_refused(guider, instructions, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["preset=paper_alpaca_tulu", "models=tiny", f"task.data={instructions}", f"guider={guider}"]
    assert main(["sweep", *arguments]) == 2
    assert "use this one as a value (values are scored on text)" in capsys.readouterr().err
    llama = "model.base=meta-llama/Llama-2-7b-chat-hf"
    assert main(["sweep", *arguments, llama, "name=llama"]) == 0
