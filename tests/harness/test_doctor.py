"""`doctor` says what a preset needs and what is there, and downloads nothing."""

import pytest

from harness.cli import main
from harness.config.compose import compose
from harness.config.schema import Sweep, validated
from harness.trials.grid import settings_of
from harness.trials.requirements import memory, models, seconds


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    for name in ("OPENAI_API_KEY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def needed(*overrides):
    composed = compose("sweep", list(overrides))
    sweep = validated(Sweep, composed.config)
    settings = settings_of(sweep, composed.guider_overrides)
    return sweep, settings, models(sweep, settings)


@pytest.mark.parametrize("preset", ["paper_imdb", "paper_tldr", "paper_alpaca_tulu", "paper_alpaca_ultra"])
def test_every_model_of_a_preset_is_known_and_named_once(preset, capsys):
    sweep, _, needs = needed(f"preset={preset}")
    assert all(need.bytes and need.memory for need in needs)
    named = {spec.path for spec in sweep.model.values()} | ({sweep.task.gold.path} - {None})
    assert sorted(need.path for need in needs) == sorted(named)
    assert main(["doctor", f"preset={preset}"]) == 1
    out = capsys.readouterr().out
    assert all(out.count(f" {name} ") == 1 for name in named)


def test_sizes_are_those_of_the_parameters():
    """GPT-2 has 124.4 million parameters, Llama-2-7B 6.74 billion in 32 layers of width 4,096."""
    _, _, needs = needed("preset=paper_imdb")
    assert needs[0].bytes == pytest.approx(124.4e6 * 4, rel=0.01)
    _, _, needs = needed("preset=paper_alpaca_ultra")
    llama = next(need for need in needs if need.path == "meta-llama/Llama-2-7b-hf")
    assert llama.memory == pytest.approx(6.74e9 * 2, rel=0.01)
    assert llama.cache == pytest.approx(2 * 32 * 4096 * 2, rel=0.01)
    assert llama.gated


def test_memory_is_weights_and_caches_and_time_grows_with_rows_and_prompts():
    sweep, settings, needs = needed("preset=paper_imdb", "batch_tokens=1000")
    assert memory(sweep, needs) == sum(int(need.memory + 1000 * need.cache) for need in needs)
    assert {setting.method: setting.rows for setting in settings}["ivg"] == 16
    assert seconds(sweep, settings, needs, 200) == pytest.approx(2 * seconds(sweep, settings, needs, 100))
    fewer = [setting for setting in settings if setting.method in ("base", "eft")]
    assert seconds(sweep, fewer, needs, 100) < seconds(sweep, settings, needs, 100) / 4


def test_keys_licences_and_a_device_that_are_not_there_are_said(capsys):
    assert main(["doctor", "preset=paper_alpaca_ultra"]) == 1
    out = capsys.readouterr().out
    assert "OPENAI_API_KEY, for the judge: NOT SET" in out
    assert "licence to be accepted" in out
    assert "missing: " in out.splitlines()[-1]


def test_local_models_are_found_or_missed_and_ready_is_said(tiny_models, capsys):
    local = ["preset=none", "task=reviews", "model=hf", "guider=base", "task.n_test=4"]
    assert main(["doctor", *local, f"model.base={tiny_models['base']}"]) == 0
    assert capsys.readouterr().out.strip().endswith("ready")
    assert main(["doctor", *local, "model.base=./nowhere"]) == 1
    assert "model ./nowhere for base" in capsys.readouterr().out


def test_a_wrong_override_is_one_line(capsys):
    assert main(["doctor", "preset=paper_imbd"]) == 2
    assert "did you mean 'paper_imdb'" in capsys.readouterr().err


def test_embedded_models_are_counted_and_said_to_be_trained_or_not(capsys):
    """Sizes from torch's own count of the parameters of the two shapes."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from harness.models.embedded import EmbeddedRecipe

    recipe = EmbeddedRecipe()
    for name, (width, layers, heads) in {"base": recipe.base, "tuned": recipe.guide}.items():
        shape = {"n_embd": width, "n_layer": layers, "n_head": heads}
        model = GPT2LMHeadModel(GPT2Config(vocab_size=recipe.vocab, n_positions=recipe.positions, **shape))
        _, _, needs = needed("preset=embedded")
        (need,) = [need for need in needs if need.path == f"embedded:{name}"]
        assert need.memory == pytest.approx(4 * model.num_parameters(), rel=0.02)
        assert need.where == "untrained"
    assert main(["doctor", "preset=embedded"]) == 0
    out = capsys.readouterr().out
    assert "trained on first use" in out
    assert "reviews.yaml (sha256:" in out
    assert "reviews_dev.yaml (sha256:" in out


def test_a_device_that_is_none_is_refused_and_one_that_is_not_here_is_missing(tiny_models, capsys):
    local = ["preset=none", "task=reviews", "model=hf", "guider=base", f"model.base={tiny_models['base']}"]
    assert main(["doctor", *local, "device=gpu"]) == 2
    assert capsys.readouterr().err.startswith("error: device=gpu: torch knows no such device")
    assert main(["doctor", *local, "device=cuda:63"]) == 1
    assert capsys.readouterr().out.endswith("missing: a device cuda:63 (or device=cpu)\n")
