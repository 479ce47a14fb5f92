"""A score is a finite number, or an error that names task, document and metric; a NaN decides no selection."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from lm_eval.api.metrics import mean, nanmean

from harness.adapters.lm_eval_scores import number
from harness.cli import main
from harness.errors import UserError
from harness.records.lines import Lines
from harness.records.run_folder import RunFolder
from harness.sweep.recorder import record_scores
from harness.sweep.selection import best_settings
from reports.direction import Directions

TASK = """
task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: ""
process_results: !function scoring.process_results
generation_kwargs: {until: [], max_gen_toks: 2}
metric_list:
  - {metric: good, aggregation: mean, higher_is_better: true}
"""
SCORING = """
import math
import numpy as np

def process_results(doc, results):
    return {"good": BAD if doc["question"] == "The third" else np.float32(1.5)}
"""


@pytest.fixture
def sweep(tiny_models, tmp_path, monkeypatch):
    """Run the base over four prompts whose third is scored by an expression: expression -> exit code."""
    monkeypatch.chdir(tmp_path)
    rows = [{"question": f"The {place}"} for place in ("first", "second", "third", "fourth")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mine.yaml").write_text(TASK)

    def run(expression: str) -> int:
        (tmp_path / "scoring.py").write_text(SCORING.replace("BAD", expression))
        base = ["model=hf", f"model.base={tiny_models['base']}", "guider=base", "seeds=[0]", "judge=null"]
        return main(
            ["sweep", "preset=none", *base, f"task={tmp_path / 'mine.yaml'}", "select.metric=null", "name=mine"]
        )

    return run


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("math.nan", "the metric 'good' of document 2 (counted from 0): nan is no score"),
        ("-math.inf", "the metric 'good' of document 2 (counted from 0): -inf is no score"),
        ("np.float32('inf')", "the metric 'good' of document 2 (counted from 0): inf is no score"),
        ("'very'", "the metric 'good' of document 2 (counted from 0): 'very' is no score"),
        ("1 / 0", "scoring document 2 (counted from 0) raised ZeroDivisionError: division by zero"),
    ],
)
def test_a_score_that_is_no_number_names_task_document_and_metric(sweep, expression, said, tmp_path, capsys):
    assert sweep(expression) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: task mine: ")
    assert said.removeprefix("the ") in error
    assert not list(tmp_path.glob("runs/mine/scores/*"))
    assert [len(list(Lines(file))) for file in tmp_path.glob("runs/mine/records/*")] == [4]  # nothing is decoded again


def test_scores_of_numpy_are_scores(sweep, tmp_path):
    assert sweep("np.int64(2)") == 0
    (file,) = tmp_path.glob("runs/mine/scores/*")
    assert [row["scores"] for row in Lines(file)] == [{"good": 1.5}, {"good": 1.5}, {"good": 2.0}, {"good": 1.5}]


@pytest.mark.parametrize("value", [None, ("label", "guess"), [1.0, 2.0], np.ones(2)])
def test_what_is_gathered_for_the_whole_corpus_is_no_score_of_a_document(value):
    assert number(value) is None


def test_nan_is_no_score_where_the_task_averages_without_it():
    """lm-eval's meqsum and its like: NaN is a document without a reference, left out by the aggregation nanmean."""
    assert number(np.nan, nanmean) is None
    assert number(1.5, nanmean) == 1.5
    with pytest.raises(ValueError, match="nan is no score"):
        number(np.nan, mean)
    with pytest.raises(ValueError, match="inf is no score"):
        number(np.inf, nanmean)


@pytest.mark.parametrize("value", [True, np.True_, np.int32(1), np.float64(1), 1])
def test_every_kind_of_one_is_a_score(value):
    assert number(value) == 1.0


def test_a_reward_that_is_no_number_is_not_recorded(tmp_path):
    run, trial = RunFolder(tmp_path), SimpleNamespace(id="base-0", task="mine")
    with pytest.raises(UserError, match=r"task mine: gold_reward of the prompt .*'The second'.* is nan"):
        record_scores(run, trial, [("The first", {"gold_reward": 1.0}), ("The second", {"gold_reward": float("nan")})])
    assert not list(run.scores("base-0"))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf"), None])
@pytest.mark.parametrize("place", [0, 1])
def test_one_score_that_is_no_number_decides_no_selection(tmp_path, bad, place):
    """Records of an older version: a NaN in the first setting won every comparison, in the second lost every one."""
    run, trials = RunFolder(tmp_path), []
    for setting, value in enumerate((1.0, 2.0)):
        trial = SimpleNamespace(id=f"eft-{setting}", task="mine")
        values = [value, bad if setting == place else value]
        run.scores(trial.id).append({"key": str(i), "scores": {"good": value}} for i, value in enumerate(values))
        trials.append((SimpleNamespace(method="eft"), [trial]))
    with pytest.raises(
        UserError, match=rf"select.metric=good: it is .* for the prompt 1 in .*scores/eft-{place}\.jsonl"
    ):
        best_settings(run, trials, "good", Directions({"good": True}))
