"""The schemas task: what its metrics say, beside llguidance's own reading and by hand."""

import json

import lm_eval
import pytest
from lm_eval.tasks import TaskManager
from test_lm_eval_task import Recorded

import tasks
from tasks.hub_rows import rows
from tasks.schemas.task import FILE, is_valid, process_results

ROWS = rows("", "test", ("name", "prompt", "json_schema"), str(FILE))


def test_there_are_24_schemas_with_a_prompt_each():
    from jsonschema import Draft202012Validator

    assert len(ROWS) == len({row["prompt"] for row in ROWS}) == len({row["name"] for row in ROWS}) == 24
    for row in ROWS:
        Draft202012Validator.check_schema(json.loads(row["json_schema"]))


@pytest.mark.parametrize(
    ("schema", "valid", "invalid"),
    [
        ({"type": "integer", "minimum": 2}, ["2", " 7\n"], ["1", "2.5", '"2"', "2 3", "", "two", "NaN"]),
        ({"type": "number"}, ["1e3"], ["NaN", "Infinity", "-Infinity"]),
        ({"type": "string", "format": "date"}, ['"2026-02-28"'], ['"2026-02-30"', '"today"']),
        ({"$defs": {"a": {"const": 1}}, "$ref": "#/$defs/a"}, ["1"], ["2"]),
        ({"$ref": "https://example.org/schema.json"}, [], ["1"]),
        ({"$ref": "#/nowhere"}, [], ["1"]),
        ({"type": "whole"}, [], ["1"]),
        ({"pattern": "("}, [], ['"a"']),
        (True, ["1"], ["one"]),
        # exclusiveMinimum was a boolean in draft 4, which a schema may name
        ({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": True}, ["2"], ["1"]),
    ],
)
def test_valid_is_what_the_schema_takes(schema, valid, invalid):
    given = json.dumps(schema)
    assert [text for text in valid + invalid if is_valid(text, given)] == valid


def test_scores_of_a_response():
    doc = {"json_schema": '{"type": "boolean"}'}
    assert process_results(doc, ["true"]) == {"valid": 1, "json": 1, "length": 4}
    assert process_results(doc, ["1"]) == {"valid": 0, "json": 1, "length": 1}
    assert process_results(doc, ["[" * 100_000]) == {"valid": 0, "json": 0, "length": 100_000}


def test_lm_eval_scores_recorded_texts():
    """`true` is JSON under all of them and valid under one, as one may read there."""
    manager = TaskManager(include_path=str(tasks.path("schemas")), include_defaults=False)
    model = Recorded("true")
    out = lm_eval.simple_evaluate(model, tasks=["schemas"], task_manager=manager, bootstrap_iters=0)
    assert [context for context, _ in model.requests] == [row["prompt"] for row in ROWS]
    takes = [row["name"] for row in ROWS if is_valid("true", row["json_schema"])]
    assert takes == ["yes or no"]
    assert out["results"]["schemas"]["valid,none"] == pytest.approx(1 / 24)
    assert out["results"]["schemas"]["json,none"] == 1
