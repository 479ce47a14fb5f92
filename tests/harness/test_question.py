"""A run is one task of one base: named by them, and refused where its folder holds another one."""

from pathlib import Path

import pytest
import yaml

from harness.cli import main
from harness.config.compose import compose

TASK = """
task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: ""
generation_kwargs: {until: [], do_sample: true, temperature: 0.25, max_gen_toks: 3}
metric_list: [{metric: bypass}]
"""


@pytest.mark.parametrize(
    ("overrides", "name", "tokens"),
    [
        ([], "embedded", 40),
        (["preset=gate"], "gate", 40),
        (["preset=paper_imdb"], "paper_imdb", 50),
        (["grid.weight=1"], "embedded", 40),
        (["task=a/my_task.yaml"], "my_task-base", None),
        (["task=a/my_task.yaml", "name=own"], "own", None),
        (["task=a/my_task.yaml", "sampling.max_new_tokens=7"], "my_task-base", 7),
        (["task=lm_eval", "task.name=gsm8k"], "gsm8k-base", None),
        (["task.names=[piqa,gsm8k]"], "piqa+gsm8k-base", None),
        (["task=imdb"], "imdb-base", None),
        (["task=reviews"], "embedded", 40),
        (["model=hf", "model.base=org/some-7b"], "reviews-some-7b", 40),
        (["preset=paper_imdb", "model.base=openai-community/gpt2-xl"], "imdb-gpt2-xl", 50),
    ],
)
def test_another_question_is_another_run_and_samples_as_its_task_says(overrides, name, tokens):
    config = compose("sweep", overrides).config
    assert config["name"] == name
    assert config["run_dir"] == f"runs/{name}"
    assert config["sampling"]["max_new_tokens"] == tokens
    assert (config["sampling"]["temperature"] is None) == (tokens is None or tokens == 7)


def test_ones_own_task_gets_its_own_folder_and_limit_and_no_other_may_use_it(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text('{"question": "The acting"}\n{"question": "A film was"}\n')
    Path("mine.yaml").write_text(TASK)
    unsaid = ("name=", "sampling.", "task.")
    options = [option for option in tiny if not option.startswith(unsaid)]
    small = ["guider=base", "seeds=[0]", "select.metric=null", "judge=null"]
    assert main(["sweep", *options, *small, "task=mine.yaml"]) == 0
    assert [path.name for path in Path("runs").iterdir()] == ["mine-base"]
    records = next(Path("runs/mine-base/records").glob("*.jsonl")).read_text().splitlines()
    assert len(records) == 2
    assert max(yaml.safe_load(line)["n_tokens"] for line in records) <= 3
    kept = {path: path.read_bytes() for path in Path("runs").rglob("*.*")}
    capsys.readouterr()
    assert main(["sweep", *options, *small, "run_dir=runs/mine-base"]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: run_dir=runs/mine-base: holds another question (mine of base, not reviews of base)")
    assert "name=NAME" in line
    assert {path: path.read_bytes() for path in Path("runs").rglob("*.*")} == kept
