"""A sweep whose constraint comes from each prompt's own document: the task schemas, and jsonschema_bench's shape."""

import json
from pathlib import Path

import lm_eval
import pytest
from lm_eval.api.instance import Instance

from harness.adapters.lm_eval import GuidedLM
from harness.cli import main
from tasks.hub_rows import rows
from tasks.schemas.task import FILE, is_valid

pytest.importorskip("llguidance")
OWN = "guider.constraint={field: json_schema, whitespace: false}"
HOW = ["select.metric=null", "judge=null", "seeds=[0]", "sampling.max_new_tokens=90", "grid.weight=1", "block=32"]


def trials(run: Path) -> dict[str, dict]:
    found = {}
    for file in (run / "trials").glob("*.json"):
        trial = json.loads(file.read_text())
        lines = {kind: run / kind / f"{trial['id']}.jsonl" for kind in ("records", "scores")}
        rows_of = {kind: [json.loads(line) for line in path.read_text().splitlines()] for kind, path in lines.items()}
        found[trial["method"]] = trial | rows_of
    return found


def small(folder: Path, schemas: list, prompt: str = "a film {}.") -> Path:
    folder.mkdir()
    text = [json.dumps({"prompt": prompt.format(i), "json_schema": json.dumps(one)}) for i, one in enumerate(schemas)]
    (folder / "data.jsonl").write_text("\n".join(text) + "\n")
    return folder / "data.jsonl"


def test_every_prompt_is_held_to_its_own_schema(tiny, tmp_path, capsys):
    """Valid by the jsonschema library, which knows nothing of how the texts were made; the base writes none."""
    run = tmp_path / "run"
    methods = "guider=[constrained,ivg,constrained_smc]"
    grid = ["grid.n=4", "task.n_test=24", f"run_dir={run}"]
    assert main(["sweep", *tiny, "task=schemas", *HOW, methods, OWN, *grid]) == 0
    schema = {row["prompt"]: row["json_schema"] for row in rows("", "test", ("prompt", "json_schema"), str(FILE))}
    found = trials(run)
    assert set(found) == {"base", "constrained", "ivg", "constrained_smc"}
    for method, trial in found.items():
        assert len(trial["records"]) == len(trial["scores"]) == 24
        valid = {row["key"]: row["scores"]["valid"] for row in trial["scores"]}
        if method == "base":
            assert not any(valid.values())
            continue
        assert sum(row["notes"]["compiled"] for row in trial["records"]) == 22
        for row in trial["records"]:
            assert valid[row["key"]] == is_valid(row["response"], schema[row["prompt"]])
            assert valid[row["key"]] == (row["finish_reason"] == "eos")
            assert (row["finish_reason"] == "constraint") == (not row["notes"]["compiled"])
        assert sum(valid.values()) >= 12
    assert "compiled" in (run / "report" / "summary.csv").read_text()


def test_another_schema_of_the_same_prompt_is_another_trial(tiny, tmp_path):
    """And the base, which reads none, keeps its records; both splits of a setting have one name."""
    sweep = ["sweep", *tiny, "task=schemas", *HOW, "guider=constrained", OWN, f"run_dir={tmp_path / 'run'}"]
    first = small(tmp_path / "first", [{"const": 1}, {"const": 2}])
    assert main([*sweep, f"task.data={first}"]) == 0
    before = trials(tmp_path / "run")
    assert [row["response"] for row in before["constrained"]["records"]] == ["1", "2"]
    second = small(tmp_path / "second", [{"const": 1}, {"const": 3}])
    assert main([*sweep, f"task.data={second}"]) == 0
    after = trials(tmp_path / "run")
    assert [row["response"] for row in after["constrained"]["records"]] == ["1", "3"]
    assert after["constrained"]["id"] != before["constrained"]["id"]
    assert after["constrained"]["setting"] == before["constrained"]["setting"]
    assert after["base"]["id"] == before["base"]["id"]


@pytest.mark.parametrize(("field", "said"), [("shape", "has no such field"), ("''", "has no such field")])
def test_a_field_that_is_not_there_is_one_line(field, said, tiny, tmp_path, capsys):
    constraint = f"guider.constraint={{field: {field}}}"
    assert main(["sweep", *tiny, "task=schemas", *HOW, "guider=eft", constraint, f"run_dir={tmp_path / 'run'}"]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert said in line


BENCH = """
include: {file}
task: bench_here
tag: []
dataset_path: json
dataset_name: null
dataset_kwargs: {{data_files: {{test: data.jsonl}}}}
training_split: null
validation_split: null
num_fewshot: 0
fewshot_config: null
description: ""
doc_to_text: "{{{{json_schema}}}} "
generation_kwargs: {{until: [], do_sample: true, temperature: 0.7, max_gen_toks: 60}}
"""


def test_lm_eval_s_jsonschema_bench_runs_on_local_data_of_its_shape(tiny, tmp_path):
    """Its own YAML and metrics, its rows from a file; its prompts are cut, as tiny models read 128 tokens."""
    file = Path(lm_eval.__file__).parent / "tasks" / "jsonschema_bench" / "jsonschema_bench_easy.yaml"
    small(tmp_path / "here", [{"enum": [1, 23]}, {"type": "boolean"}, {"type": "integer", "not": {"const": 3}}])
    (tmp_path / "here" / "bench.yaml").write_text(BENCH.format(file=file))
    task = ["task=lm_eval", f"task.path={tmp_path / 'here' / 'bench.yaml'}", f"run_dir={tmp_path / 'run'}"]
    assert main(["sweep", *tiny, *task, *HOW, "guider=constrained", OWN]) == 0
    found = trials(tmp_path / "run")
    scores = [row["scores"] for row in found["constrained"]["scores"]]
    assert [row["schema_compliance"] for row in scores] == [1, 1, 0]
    assert [row["json_validity"] for row in scores] == [1, 1, 0]
    assert not any(row["scores"]["schema_compliance"] for row in found["base"]["scores"])


def test_the_model_inside_lm_eval_reads_the_documents(tiny_models):
    models = {f"model.{role}": tiny_models[role] for role in ("base", "tuned", "untuned", "value")}
    model = GuidedLM(preset="none", guider="constrained", model="hf", **models, **{"guider.constraint.field": "schema"})
    docs = [{"schema": {"const": "a"}}, {"schema": {"const": "b"}}]
    asked = [Instance("generate_until", doc, ("a film", {"max_gen_toks": 20}), i) for i, doc in enumerate(docs)]
    assert model.generate_until(asked) == ['"a"', '"b"']
