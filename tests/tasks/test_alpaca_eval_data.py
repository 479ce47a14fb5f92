"""AlpacaEval's instructions: the shipped table, and what is said of files that differ from it."""

import gzip
import json
import os
import random
from pathlib import Path

import pandas as pd
import pytest

from tasks.alpaca_eval.data import difference, in_order, instructions, read_rows, shipped
from tasks.alpaca_eval.task import load, process_results
from tasks.errors import TaskError

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("SHARED_DIR", ROOT.parent / "shared")) / "data" / "alpaca_eval"
REFERENCE = SHARED / "outputs" / "gpt4_1106_preview.json.gz"
needs_texts = pytest.mark.skipif(
    not REFERENCE.exists(), reason="needs the instructions' texts in ../shared (SHARED_DIR)"
)


def texts() -> list[str]:
    with gzip.open(REFERENCE, "rt", encoding="utf-8") as file:
        return [row["instruction"] for row in json.load(file)]


def write(path: Path, rows: list[str]) -> Path:
    path.write_text(json.dumps([{"instruction": text} for text in rows]), encoding="utf-8")
    return path


def test_the_table_is_that_of_the_difficulties():
    """The same 805 instructions in the same order as in the reports' calibration."""
    with (ROOT / "reports" / "data" / "instructions.csv.gz").open("rb") as file:
        difficulties = pd.read_csv(file, compression="gzip")
    assert [row["sha256"] for row in shipped()] == list(difficulties.sort_values("index").sha256)
    assert len({row["sha256"] for row in shipped()}) == 805


@needs_texts
def test_the_published_instructions_are_recognised_in_their_order():
    found = difference(texts())
    assert (found.missing, found.unknown, found.moved) == ((), (), False)
    assert str(found) == "AlpacaEval's 805 instructions"


@needs_texts
def test_missing_changed_and_moved_instructions_are_told_apart():
    rows = texts()
    rows[7] += " "
    del rows[100]
    found = difference([rows[-1], *rows[:-1]])
    assert found.missing == (7, 100)
    assert found.unknown == (8,)
    assert found.moved
    assert "rows 8" in str(found)


@needs_texts
def test_a_local_file_in_any_order_is_put_in_order(tmp_path):
    rows = texts()
    shuffled = random.Random(0).sample(rows, len(rows))
    file = write(tmp_path / "data.json", shuffled)
    assert [row["instruction"] for row in instructions(file)] == rows
    assert in_order(shuffled[:50]) == sorted(shuffled[:50], key=rows.index)


@needs_texts
def test_a_changed_instruction_is_refused_with_its_place(tmp_path):
    rows = texts()
    rows[3] = rows[3].upper()
    with pytest.raises(TaskError, match=r"1 of AlpacaEval's 805 instructions missing \(3\); 1 changed .*rows 3"):
        instructions(write(tmp_path / "data.json", rows))


@needs_texts
def test_lm_eval_gets_the_805_instructions_as_prompts():
    """Through lm-eval's own task manager, from the YAML and a local file."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False, metadata={"data": str(REFERENCE)})
    folder = ROOT / "tasks" / "alpaca_eval" / "alpaca_eval.yaml"
    from lm_eval.tasks._yaml_loader import load_yaml

    (task,) = manager.load([load_yaml(folder)])["tasks"].values()
    documents = list(task.eval_docs)
    assert [task.doc_to_text(document) for document in documents] == texts()
    assert task.process_results(documents[0], ["abc"]) == {"length": 3.0, "empty": 0.0}


def test_an_empty_response_is_counted():
    assert process_results({}, [" \n"])["empty"] == 1.0


def test_without_the_hub_the_mend_is_a_local_file(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(TaskError, match=r"task\.data=FILE"):
        load()


@pytest.mark.parametrize("name", ["x.json", "x.json.gz"])
def test_a_file_that_is_no_json_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x1f\x8b nonsense")
    with pytest.raises(TaskError, match=name):
        read_rows(tmp_path / name)
