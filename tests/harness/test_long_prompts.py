"""Prompts that do not fit a model's context, in a sweep and inside lm-eval; templates on log-likelihoods."""

import json
from pathlib import Path

import pytest
from lm_eval.api.instance import Instance

from harness.adapters.lm_eval import GuidedLM
from harness.cli import main
from harness.records.lines import Lines

TASK = """
task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: ""
generation_kwargs: {until: [], max_gen_toks: 8}
metric_list: [{metric: bypass}]
"""


@pytest.fixture
def sweep(tmp_path, tiny_models, monkeypatch) -> list[str]:
    """A sweep of the base alone over four prompts, of which two are longer than its context of 128."""
    monkeypatch.chdir(tmp_path)
    long = "I watched this film last night and the acting was fine. " * 12
    rows = ["The acting", long, "A film", long + "So"]
    Path("rows.jsonl").write_text("".join(json.dumps({"question": row}) + "\n" for row in rows), encoding="utf-8")
    Path("mine.yaml").write_text(TASK, encoding="utf-8")
    models = [f"model.{role}={tiny_models[role]}" for role in ("base", "tuned", "untuned", "value")]
    return ["sweep", "preset=none", "task=mine.yaml", "model=hf", *models, "guider=base", "judge=null", "block=1",
            "select.metric=null", "seeds=[0]", "name=long"]  # fmt: skip


def test_a_sweep_names_all_long_prompts_before_anything_is_decoded(sweep, capsys):
    assert main(sweep) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "document 1 of mine has" in line
    assert "document 3 of mine has" in line
    assert line.endswith("on_long_prompt=truncate")
    assert not list(Path("runs/long/records").glob("*.jsonl"))


def test_a_sweep_that_truncates_counts_it(sweep, capsys, tiny_models):
    assert main([*sweep, "task.on_long_prompt=truncate"]) == 0
    assert "2 prompts were too long and lost their beginning" in capsys.readouterr().out
    (path,) = Path("runs/long/records").glob("*.jsonl")
    found = {row["index"]: row for row in Lines(path)}
    model = GuidedLM(preset="none", guider="base", model="hf", **{"model.base": tiny_models["base"]})
    for index, row in found.items():
        tokens = len(model.tok_encode(row["prompt"]))
        assert row.get("truncated", 0) == max(0, tokens + 8 - 128)
        assert (index in (1, 3)) == ("truncated" in row)
    manifest = json.loads(Path("runs/long/manifest.json").read_text())
    assert manifest["truncated_prompts"] == {path.stem: 2}


@pytest.mark.parametrize("guider", ["base", "eft"])
def test_a_template_acts_on_log_likelihoods(guider, tiny_models):
    """The continuation of a text in a template is that of the whole text, written out; a guide has its own."""
    template = "Q: {prompt} A:"
    roles = ("base", "tuned", "untuned")
    models = {"model": "hf", **{f"model.{role}": tiny_models[role] for role in roles}}
    templates = {f"model.{role}.template": template for role in roles}
    pairs = [("The film", " was slow"), ("I watched this", " film"), ("", " A film")]
    plain = GuidedLM(preset="none", guider=guider, **models)
    written = [(template.replace("{prompt}", context), continuation) for context, continuation in pairs]
    expected = plain.loglikelihood(requests(written), disable_tqdm=True)
    found = GuidedLM(preset="none", guider=guider, **models, **templates).loglikelihood(requests(pairs))
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    assert [value for value, _ in found] == pytest.approx([value for value, _ in expected], abs=1e-4)
    untouched = plain.loglikelihood(requests(pairs), disable_tqdm=True)
    assert [value for value, _ in found] != pytest.approx([value for value, _ in untouched], abs=1e-2)


def requests(pairs: list[tuple[str, str]]) -> list[Instance]:
    return [Instance("loglikelihood", {}, pair, place, ("mine", place, 1)) for place, pair in enumerate(pairs)]
