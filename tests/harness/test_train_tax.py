"""The alignment tax: lm-eval's own tasks and scores, guided against unguided."""

import json

import pytest

from harness.adapters.lm_eval_tasks import without_environment
from harness.cli import main
from harness.records.rows import SignedLines

GENERATE = """
task: tiny_generate
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: [], do_sample: false, max_gen_toks: 4}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
"""
CHOOSE = """
task: tiny_choose
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: ["good", "bad"]
doc_to_target: 0
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""


@pytest.fixture
def arguments(tmp_path, tiny_models, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"question": f"The film {i}", "answer": "x"}) + "\n" for i in range(12)))
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name, text in {"generate": GENERATE, "choose": CHOOSE}.items():
        (folder / f"{name}.yaml").write_text(text.format(file=rows))
    return [
        "sweep", "preset=none", "model=hf", "task=lm_eval", f"task.path={folder}", "name=tax", "grid.weight=[3]",
        *(f"model.{role}={tiny_models[role]}" for role in ("base", "tuned", "untuned", "value")),
    ]  # fmt: skip


def test_every_task_guided_against_unguided_in_one_table(arguments, tmp_path, capsys):
    arguments = [*arguments, "guider=eft", "task.names=[tiny_generate,tiny_choose]"]
    assert main(arguments) == 0
    rows = json.loads((tmp_path / "runs" / "tax" / "report" / "tax.json").read_text())
    assert {(row["task"], row["metric"], row["n"]) for row in rows} == {
        ("tiny_generate", "exact_match", 12),
        ("tiny_choose", "acc", 12),
    }
    for row in rows:
        assert row["difference"] == pytest.approx(row["guided"] - row["unguided"])
        assert row["low"] <= row["difference"] <= row["high"]
        assert 0 <= row["guided"] <= 1
    assert "| tiny_choose | acc | eft weight 3 | 12 |" in capsys.readouterr().out
    # once more: read back; a setting that is not whole, or of a version that kept no documents, is evaluated again
    folder = tmp_path / "runs" / "tax" / "tax"
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(before) == 4
    assert main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    next(folder.glob("eft-*.jsonl")).unlink()
    assert main(arguments) == 0
    assert set(folder.iterdir()) == set(before)
    assert all(path.stat().st_mtime_ns == before[path] for path in folder.glob("base-*"))
    assert json.loads((tmp_path / "runs" / "tax" / "report" / "tax.json").read_text()) == rows


def test_the_unguided_scores_are_lm_evals_own_of_the_base(arguments, tmp_path, tiny_models):
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    assert main([*arguments, "guider=eft", "task.names=[tiny_choose]"]) == 0
    (row,) = json.loads((tmp_path / "runs" / "tax" / "report" / "tax.json").read_text())
    manager = TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False)
    model = HFLM(pretrained=tiny_models["base"], device="cpu")
    with without_environment():
        theirs = simple_evaluate(model=model, tasks=["tiny_choose"], task_manager=manager, log_samples=True)
    assert row["unguided"] == theirs["results"]["tiny_choose"]["acc,none"]
    (file,) = (tmp_path / "runs" / "tax" / "tax").glob("base-*.jsonl")
    assert list(SignedLines(file)) == [
        {"task": "tiny_choose", "document": sample["doc_id"], "key": sample["doc_hash"][:16],
         "scores": {"acc,none": sample["acc"]}}
        for sample in theirs["samples"]["tiny_choose"]
    ]  # fmt: skip


def _edit_score(folder):
    file = next(folder.glob("eft-*.jsonl"))
    first, *rest = file.read_text().splitlines(keepends=True)
    row = json.loads(first)
    row["scores"]["acc,none"] = 1 - row["scores"]["acc,none"]
    file.write_text(json.dumps(row) + "\n" + "".join(rest))
    return f"{file.name}:1: "


def _remove_row(folder):
    file = next(folder.glob("eft-*.jsonl"))
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    return "11 of 12 documents"


def _edit_mean(folder):
    file = next(folder.glob("eft-*.json"))
    kept = json.loads(file.read_text())
    kept["results"]["tiny_choose"]["acc,none"] += 0.25
    file.write_text(json.dumps(kept))
    return "its checksum differs"


def _swap(folder):
    base, eft = (next(folder.glob(f"{name}-*.jsonl")) for name in ("base", "eft"))
    eft.write_text(base.read_text())
    return f"{eft.name}:1: "


@pytest.mark.parametrize("change", [_edit_score, _remove_row, _edit_mean, _swap])
def test_changed_scores_are_named_and_set_aside_and_made_anew(change, arguments, tmp_path, capsys):
    arguments = [*arguments, "guider=eft", "task.names=[tiny_choose]"]
    assert main(arguments) == 0
    folder = tmp_path / "runs/tax/tax"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    said = change(folder)
    capsys.readouterr()
    assert main(arguments) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert said in line
    assert {path.name: path.read_bytes() for path in folder.iterdir() if ".rejected" not in path.name} == before
    assert list(folder.glob("eft-*.rejected.*"))


def test_a_search_on_log_likelihoods_is_refused_before_anything_runs(arguments, capsys):
    assert main([*arguments, "guider=ivg", "task.names=[tiny_choose]"]) == 2
    assert "tiny_choose asks for log-likelihoods, and a search has none" in capsys.readouterr().err
    assert main([*arguments, "guider=ivg", "grid.width=2", "grid.successors=2", "task.names=[tiny_generate]"]) == 0


def test_an_unknown_task_is_one_line(arguments, capsys):
    assert main([*arguments, "guider=eft", "task.names=[gsm9k]"]) == 2
    assert "knows no task" in capsys.readouterr().err
