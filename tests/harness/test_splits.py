"""What chooses the settings doesn't report them: no prompt is in both halves of a task without a dev task."""

import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.records.lines import Lines

TASK = """
task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: "x"
generation_kwargs: {until: [], max_gen_toks: 2}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""


@pytest.fixture
def sweep(tiny_models, tmp_path, monkeypatch):
    """Run the base over documents with these prompts: (prompts, overrides) -> exit code."""
    monkeypatch.chdir(tmp_path)

    def run(prompts: str, *overrides: str) -> int:
        lines = [json.dumps({"question": f"The {prompt}", "number": i}) + "\n" for i, prompt in enumerate(prompts)]
        (tmp_path / "rows.jsonl").write_text("".join(lines))
        (tmp_path / "mine.yaml").write_text(TASK)
        base = ["model=hf", f"model.base={tiny_models['base']}", "guider=base", "seeds=[0]", "judge=null", "block=2"]
        task = [f"task={tmp_path / 'mine.yaml'}", "select.metric=exact_match", "name=mine"]
        return main(["sweep", "preset=none", *base, *task, *overrides])

    return run


def asked(folder: Path) -> dict[str, list[str]]:
    """split -> the prompts that were decoded and those that were scored, in order."""
    found = {}
    for file in (folder / "runs/mine/trials").iterdir():
        trial = json.loads(file.read_text())
        records = {row["key"]: row["prompt"] for row in Lines(folder / "runs/mine/records" / f"{trial['id']}.jsonl")}
        scored = [row["key"] for row in Lines(folder / "runs/mine/scores" / f"{trial['id']}.jsonl")]
        assert list(records) == scored
        found[trial["split"]] = [prompt.removeprefix("The ") for prompt in records.values()]
    return found


def test_dev_and_test_are_halves_of_the_prompts(sweep, tmp_path, capsys):
    assert sweep("abcdefg") == 0
    assert asked(tmp_path) == {"dev": list("aceg"), "test": list("bdf")}
    assert "warning" not in capsys.readouterr().err
    manifest = json.loads((tmp_path / "runs/mine/manifest.json").read_text())
    assert all(set(entry) == {"prompts", "sha256"} for entry in manifest["datasets"].values())


def test_documents_with_one_prompt_are_in_one_half_and_counted(sweep, tmp_path, capsys):
    """By documents, a and b would choose the settings and report them: a b b at even places, a c a d at odd ones."""
    assert sweep("aabcbabd") == 0
    assert asked(tmp_path) == {"dev": ["a", "c"], "test": ["b", "d"]}
    assert "warning: task mine: 4 of 8 documents repeat the prompt of an earlier one" in capsys.readouterr().err
    manifest = json.loads((tmp_path / "runs/mine/manifest.json").read_text())
    assert [entry["repeated_documents"] for entry in manifest["datasets"].values()] == [4, 4]
    assert [entry["prompts"] for entry in manifest["datasets"].values()] == [2, 2]


def test_a_limit_counts_prompts(sweep, tmp_path):
    assert sweep("aaaaabcde", "task.n_dev=2", "task.n_test=1") == 0
    assert asked(tmp_path) == {"dev": ["a", "c"], "test": ["b"]}


def test_a_whole_task_asks_each_prompt_once(sweep, tmp_path, capsys):
    assert sweep("abacb", "select.metric=null") == 0
    assert asked(tmp_path) == {"all": ["a", "b", "c"]}
    assert "2 of 5 documents repeat" in capsys.readouterr().err


def test_a_dev_task_that_shares_prompts_with_the_task_is_said(sweep, tmp_path, capsys):
    (tmp_path / "rows_dev.jsonl").write_text("".join(json.dumps({"question": f"The {x}"}) + "\n" for x in "xby"))
    (tmp_path / "mine_dev.yaml").write_text(TASK.replace("task: mine", "task: mine_dev").replace("rows", "rows_dev"))
    assert sweep("abc", f"task.path={tmp_path}", "task.name=mine", "task.dev=mine_dev") == 0
    assert asked(tmp_path) == {"dev": ["x", "b", "y"], "test": ["a", "b", "c"]}
    assert "warning: task.dev: 1 of 3 prompts of mine are prompts of mine_dev too" in capsys.readouterr().err


def test_a_dev_task_beside_the_task_chooses(sweep, tmp_path):
    (tmp_path / "rows_dev.jsonl").write_text("".join(json.dumps({"question": f"The {x}"}) + "\n" for x in "xy"))
    (tmp_path / "mine_dev.yaml").write_text(TASK.replace("task: mine", "task: mine_dev").replace("rows", "rows_dev"))
    assert sweep("abc") == 0
    assert asked(tmp_path) == {"dev": ["x", "y"], "test": ["a", "b", "c"]}


def test_one_prompt_cannot_choose_and_report(sweep, tmp_path, capsys):
    assert sweep("aaa") == 2
    assert "task mine: a single prompt cannot choose the settings and report them too" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*-*.jsonl"))
