"""Bad input: one line that names the culprit and the mend, exit code 2, nothing recorded lost."""

import json
import os
from pathlib import Path

import pytest

from harness.cli import main

TASK = """
task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: ""
generation_kwargs: {until: []}
metric_list: [{metric: bypass}]
"""


def refused(arguments: list[str], capsys) -> str:
    """The one line that a refused command prints."""
    code = main(arguments)
    captured = capsys.readouterr()
    assert code == 2, captured
    # a library's progress bar may precede the line; a traceback may not
    assert "Traceback" not in captured.err
    (line,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert captured.err.endswith(line + "\n")
    return line


@pytest.mark.parametrize(
    ("override", "culprit", "mend"),
    [
        ("grid.weigth=[1]", "grid.weigth", "grid.weight"),
        ("sampling.temprature=1", "sampling.temprature", "sampling.temperature"),
        ("wieght=1", "wieght", "--help"),
        ("guider=ivgg", "ivgg", "'ivg'"),
        ("guider=[eft,best_of_n]", "best_of_n", "'best_of_n_"),
        ("guider.value.modle=X", "guider.value.modle", "value.model"),
        ("task=revews", "revews", "'reviews'"),
        ("preset=embeded", "embeded", "'embedded'"),
        ("model=llama", "llama", "embedded, hf"),
        ("judge=rewards", "rewards", "'reward'"),
        ("grid.weight=-1", "grid.weight=-1", "greater than or equal to 0"),
        ("grid.weight=[0.5,-0.1]", "grid.weight=-0.1", "greater than or equal to 0"),
        ("grid.weight=nan", "grid.weight=nan", "greater than or equal to 0"),
        ("grid.weight=inf", "grid.weight=inf", "finite"),
        ("grid.weight=heavy", "grid.weight='heavy'", "valid number"),
        ("grid.width=0", "grid.width=0", "greater than or equal to 1"),
        ("grid.successors=-4", "grid.successors=-4", "greater than or equal to 1"),
        ("grid.length=0", "grid.length=0", "greater than or equal to 1"),
        ("grid.n=0", "grid.n=0", "greater than or equal to 1"),
        ("grid.width=2.5", "grid.width=2.5", "integer"),
        ("grid.width=[]", "grid.width", "at least 1"),
        ("grid.rows=4,16", "grid.rows=[4, 16]", "one value"),
        ("device=cpu,cuda", "device=['cpu', 'cuda']", "one value"),
        ("task.system_instruction=Be kind, please", "task.system_instruction=", "quote"),
        ("task=reviews,imdb", "task=", "takes one"),
        ("guider=range(1,3)", "guider=1", "--help"),
        ("seeds=interval(0,1)", "seeds=interval(0,1)", "does not parse"),
        ("guider.search.width=0", "guider.search.width=0", "greater than or equal to 1"),
        ("guider.token.weight=-2", "guider.token.weight=-2", "greater than or equal to 0"),
        ("grid.rows=7", "grid.rows=7", "grid.rows=null"),
        ("name=../x", "name='../x'", "run_dir=PATH"),
        ("name=a/b", "name='a/b'", "run_dir=PATH"),
        ("name='..'", "name='..'", "run_dir=PATH"),
        ("run_dir=''", "run_dir", "at least 1"),
        ("sampling.temperature=-1", "sampling.temperature=-1", "greater than or equal to 0"),
        ("sampling.top_p=0", "sampling.top_p=0", "greater than 0"),
        ("seeds=[]", "seeds", "at least 1"),
        ("block=0", "block=0", "greater than or equal to 1"),
        ("grid.weight=[1", "grid.weight=[1", "quote"),
        ("grid.weight", "grid.weight", "key=value"),
        ("--fast", "--fast", "key=value"),
        ("model.base=/no/such/model", "/no/such/model", "config.json"),
        ("model.base=embedded:bass", "embedded:bass", "embedded:base"),
        ("task.path=/no/such/task.yaml", "/no/such/task.yaml", "YAML"),
    ],
)
def test_a_wrong_override_is_named_with_its_mend(override, culprit, mend, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = refused(["sweep", *tiny, override], capsys)
    assert culprit in line
    assert mend in line


@pytest.mark.parametrize("names", [("a/mine.yaml", "b/mine.yaml"), ("mine.yml", "mine.yaml"), ("ivg", "ivg.yaml")])
def test_two_guiders_of_one_name_are_refused(names, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for place, name in enumerate(name for name in names if "." in name):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(f"_target_: guiders.Guider\nbase: ${{model.base}}\nsearch: {{_target_: x.S{place}}}\n")
    line = refused(["sweep", *tiny, f"guider=[{','.join(names)}]"], capsys)
    assert all(name in line for name in names)
    assert "rename" in line


def test_a_users_base_is_not_taken_for_the_unguided_base(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text("_target_: guiders.Guider\nbase: ${model.base}\nsearch: {_target_: x.S}\n")
    line = refused(["sweep", *tiny, "guider=[eft,base.yaml]"], capsys)
    assert "guider=base.yaml" in line
    assert "rename" in line
    line = refused(["sweep", *tiny, "guider=base.yaml"], capsys)
    assert "rename" in line


def test_a_task_that_lm_eval_does_not_know_is_said_before_anything_is_decoded(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = refused(["sweep", *tiny, "task.name=no_such_task"], capsys)
    assert "no_such_task" in line
    assert "ls tasks" in line
    assert not list(tmp_path.rglob("*.jsonl"))


@pytest.mark.parametrize(
    ("settings", "culprit", "secret"),
    [
        (["judge=openai", "judge.base_url=http://me:hunter2@host/v1"], "judge.base_url", "hunter2"),
        (["judge=openai", "judge.base_url='http://host/v1?key=hunter2'"], "judge.base_url", "hunter2"),
        (["judge=openai", "judge.base_url='http://me:hunter2@[host/v1'"], "judge.base_url", "hunter2"),
        (["judge=openai", "judge.base_url=host"], "judge.base_url='host'", None),
        (["judge=openai", "judge.key_env=sk-hunter2"], "judge.key_env", "hunter2"),
        (["judge=openai", "judge.key_env=sk_hunter2", "judge.retries=-1"], "judge.key_env", "hunter2"),
        (["judge=openai"], "OPENAI_API_KEY is not set", None),
        (
            ["judge=openai", "judge.base_url=http://gpu-1:8000/v1", "judge.key_env=A_KEY"],
            "judge.insecure=true",
            "k-hunter2",
        ),
        (["judge=openai", "judge.annotator=nobody"], "judge.annotator='nobody'", None),
        (["judge=replay", "judge.annotator=nobody"], "judge.annotator='nobody'", None),
        (["judge=replay", "judge.answers=nowhere.jsonl"], "judge.answers=nowhere.jsonl", None),
        (["select.metric=gold_rewrd"], "select.metric=gold_rewrd", None),
        (["'select.guard=[fluencie>=0.8]'".strip("'")], "select.guard=fluencie>=0.8", None),
    ],
)
def test_what_can_be_known_is_said_before_anything_is_decoded(
    settings, culprit, secret, tiny, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("A_KEY", "k-hunter2")
    line = refused(["sweep", *tiny, *settings], capsys)
    assert culprit in line
    assert not list(tmp_path.rglob("*.jsonl"))
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert secret is None or secret not in line + "".join(file.read_text() for file in files)


def test_an_unknown_verb_is_answered_with_the_nearest(capsys):
    assert "'sweep'" in refused(["swep"], capsys)


def test_a_vocabulary_mismatch_is_said_before_any_weight_is_read(tiny, tiny_models, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    weightless = tmp_path / "weightless"
    weightless.mkdir()
    for file in Path(tiny_models["base"]).iterdir():
        (weightless / file.name).write_bytes(file.read_bytes())
    (weightless / "model.safetensors").write_bytes(b"not weights: reading them would fail otherwise")
    line = refused(["sweep", *tiny, f"model.base={weightless}", f"model.tuned={tiny_models['other']}"], capsys)
    assert "vocabulary" in line
    assert tiny_models["other"] in line
    assert "value" in line


def test_a_folder_without_a_model_is_refused(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert "config.json" in refused(["sweep", *tiny, "model.base=./empty"], capsys)


def own_task(folder: Path, rows: list[str], task: str = TASK) -> Path:
    (folder / "rows.jsonl").write_text("".join(row + "\n" for row in rows))
    (folder / "mine.yaml").write_text(task)
    return folder / "mine.yaml"


@pytest.mark.parametrize(
    ("rows", "task", "where"),
    [
        (['{"question": "a"}', '{"question": ""}'], TASK, "rows.jsonl:2"),
        (['{"question": "a"}', '{"answer": "b"}'], TASK, "rows.jsonl:2"),
        (['{"question": "a"}', '{"question": null}'], TASK.replace('"{{question}}"', "question"), "rows.jsonl:2"),
        (['{"question": "a"', "{}"], TASK, "rows.jsonl:1"),
        (['["a"]'], TASK, "rows.jsonl:1"),
        (['{"question": "a\\ud83d\\ude00"}', '{"question": "a\\ud83d"}'], TASK, "rows.jsonl:2"),
        ([], "task: mine\n  dataset_path: [json\n", "mine.yaml:"),
        ([], "- a list\n", "mine.yaml:1"),
        (['{"question": "a"}'] * 2, TASK.replace("bypass", "no_such_metric"), "no_such_metric"),
        ([], TASK.replace("rows.jsonl", "row.jsonl"), "row.jsonl"),
        ([], "dataset_path: json\n", "mine.yaml"),
    ],
)
def test_a_malformed_task_is_named_with_file_and_line(rows, task, where, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = refused(["sweep", *tiny, f"task={own_task(tmp_path, rows, task)}"], capsys)
    assert where in line


def test_a_task_for_log_likelihoods_is_referred_to_lm_eval(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    task = TASK.replace("generate_until", "loglikelihood").replace("bypass", "perplexity")
    line = refused(["sweep", *tiny, f"task={own_task(tmp_path, [json.dumps({'question': 'a'})] * 2, task)}"], capsys)
    assert "python -m harness lm_eval" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_refused(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert "run_dir=PATH" in refused(["sweep", *tiny, f"run_dir={locked}/run"], capsys)


def test_a_run_directory_that_is_a_file_is_refused(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("kept")
    line = refused(["sweep", *tiny, "run_dir=file/run"], capsys)
    assert "run_dir=file/run" in line
    assert "run_dir=PATH" in line
    assert (tmp_path / "file").read_text() == "kept"


def test_a_second_sweep_in_the_same_folder_is_refused(tiny, tmp_path, monkeypatch, capsys):
    from harness.records.run_folder import RunFolder

    monkeypatch.chdir(tmp_path)
    first = RunFolder("runs/tiny")
    first.open()
    try:
        assert "another sweep" in refused(["sweep", *tiny], capsys)
    finally:
        first.close()


def test_a_damaged_record_is_named_and_nothing_is_lost(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = [*tiny, "guider=base", "task.n_dev=2", "task.n_test=2", "seeds=[0]", "sampling.max_new_tokens=2"]
    assert main(["sweep", *small]) == 0
    capsys.readouterr()
    trials = [json.loads(file.read_text()) for file in Path("runs/tiny/trials").glob("*.json")]
    (dev,) = (trial["id"] for trial in trials if trial["split"] == "dev")  # a dry run reads no more
    damaged = Path(f"runs/tiny/records/{dev}.jsonl")
    whole = damaged.read_text()
    damaged.write_text("{broken\n" + whole)
    for reading in (["sweep", "--dry-run", *small], ["report", "run=runs/tiny"]):
        assert f"{damaged.name}:1" in refused(reading, capsys)
        assert damaged.read_text() == "{broken\n" + whole
    assert main(["sweep", *small]) == 0
    assert f"warning: {damaged}:1: not a JSON object; set aside in" in capsys.readouterr().err
    assert damaged.read_text() == whole
    assert "{broken" in damaged.with_suffix(".rejected.jsonl").read_text()
