"""guider.constraint: an option of every method, and not of the base that they are compared with."""

import json

import pytest

from harness.cli import main
from harness.errors import UserError
from harness.trials.composed import composed_sweep

pytest.importorskip("llguidance")
SCHEMA = {"type": "array", "items": {"enum": ["good", "bad"]}, "minItems": 1, "maxItems": 2}


@pytest.fixture
def schema(tmp_path):
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(SCHEMA | {"x-guidance": {"whitespace_flexible": False}}))
    return path


def test_a_sweep_of_any_method_writes_valid_texts(tiny, schema, tmp_path, capsys):
    run = tmp_path / "run"
    asked = [f"guider.constraint={{json_schema: {schema}}}", "sampling.max_new_tokens=40", "grid.weight=1", "seeds=[0]"]
    methods = ["guider=[eft,ivg,qalign,awrs,asap]", "grid.beta=1", "grid.steps=2", "grid.draws=3"]
    assert main(["sweep", *tiny, *methods, *asked, f"run_dir={run}", "select.metric=gold_reward"]) == 0
    seen = {}
    for file in (run / "trials").glob("*.json"):
        trial = json.loads(file.read_text())
        lines = (run / "records" / f"{trial['id']}.jsonl").read_text().splitlines()
        seen.setdefault(trial["method"], []).extend(json.loads(line) for line in lines)
    assert set(seen) == {"base", "eft", "ivg", "qalign", "awrs", "asap"}
    assert all(row["log_weight"] < 0 and row["notes"]["constraint_checks"] >= 2 for row in seen["awrs"])
    for row in seen["eft"] + seen["ivg"] + seen["qalign"] + seen["awrs"] + seen["asap"]:
        assert row["finish_reason"] == "eos"
        assert set(json.loads(row["response"])) <= {"good", "bad"}
    assert not any(row["response"].startswith("[") for row in seen["base"])


def test_every_setting_but_the_base_s_has_the_option_given_by_its_key(tiny, schema):

    def trials():
        swept = composed_sweep([*tiny, "guider=eft", f"guider.constraint.json_schema={schema}"])
        return [one.config.get("constraint") for one in swept.settings]

    assert trials() == [None, {"json_schema": str(schema)}, {"json_schema": str(schema)}]


@pytest.mark.parametrize(
    ("constraint", "said"),
    [("{regex: '('}", "regex does not parse"), ("{json_schema: no.json}", "no.json"), ("{shape: round}", "shape")],
)
def test_what_can_not_be_obeyed_ends_with_exit_code_2(constraint, said, tiny, tmp_path, capsys):
    assert main(["sweep", *tiny, f"guider.constraint={constraint}", f"run_dir={tmp_path / 'run'}"]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert said in line


def test_a_guider_of_another_class_takes_none(tiny, tmp_path):
    (tmp_path / "mine.yaml").write_text("_target_: collections.OrderedDict\nbase: ${model.base}\n")
    with pytest.raises(UserError, match="takes none"):
        composed_sweep([*tiny, f"guider={tmp_path / 'mine.yaml'}", "guider.constraint={regex: a}"])


def test_the_constraint_of_the_command_line_takes_the_place_of_a_configured_one(tiny):
    """awrs has a regular expression of its own; two keys of the command line belong together."""
    keys = ["guider.constraint.field=json_schema", "guider.constraint.whitespace=false"]
    (setting,) = [one for one in composed_sweep([*tiny, "guider=awrs", *keys]).settings if one.method == "awrs"]
    assert setting.config["constraint"] == {"field": "json_schema", "whitespace": False}
    (setting,) = [one for one in composed_sweep([*tiny, "guider=awrs"]).settings if one.method == "awrs"]
    assert set(setting.config["constraint"]) == {"regex"}
