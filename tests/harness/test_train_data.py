"""Rows are checked one by one before any training, and a bad one is named by file and line."""

import csv
import json

import pyarrow
import pyarrow.parquet
import pytest

from harness.errors import UserError
from harness.training import data
from harness.training.config import Data

ROWS = [{"q": "Why?", "prompt": f"p{i}", "response": f' a\n{i}, "b"', "reward": i / 2} for i in range(5)]
COLUMNS = ("prompt", "response", "reward")


def write(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as lines:
            writer = csv.DictWriter(lines, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return Data(path=str(path))


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_one_and_the_same_rows_from_every_format(suffix, tmp_path):
    expected = [{name: row[name] for name in COLUMNS} for row in ROWS]
    assert data.read(write(tmp_path / f"rows{suffix}", ROWS), COLUMNS) == expected


def test_columns_by_other_names_and_no_prompts(tmp_path):
    rows = write(tmp_path / "rows.jsonl", ROWS).model_copy(update={"prompt": "q"})
    assert data.read(rows, ["prompt"])[0] == {"prompt": "Why?"}
    assert data.read(rows.model_copy(update={"prompt": None}), ["prompt", "response"])[0]["prompt"] == ""


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"reward": None}, "reward is None, not a finite number"),
        ({"reward": "high"}, "reward is 'high', not a finite number"),
        ({"reward": float("inf")}, "reward is inf, not a finite number"),
        ({"response": " "}, "response is empty"),
        ({"prompt": 3}, "prompt is 3, not a text"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(wrong, said, tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = write(path, [*ROWS[:2], {**ROWS[2], **wrong}, *ROWS[3:]])
    with pytest.raises(UserError, match=rf"{path}:3: {said}"):
        data.read(rows, COLUMNS)


def test_a_line_of_a_csv_file_is_counted_with_the_lines_inside_its_cells(tmp_path):
    path = tmp_path / "rows.csv"
    rows = write(path, [*ROWS[:2], {**ROWS[2], "reward": "x"}])
    # the header is line 1, and every row before takes two lines
    with pytest.raises(UserError, match=rf"{path}:6: "):
        data.read(rows, COLUMNS)


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", r"rows.jsonl:2: not JSON"), ("[1]", r"rows.jsonl:2: not a JSON object")],
)
def test_a_line_that_is_no_object_is_named(text, said, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n" + text + "\n")
    with pytest.raises(UserError, match=said):
        data.read(Data(path=str(path)), COLUMNS)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nowhere.jsonl", "no such file"),
        ("./nowhere", "no such file"),
        (None, "data: not set"),
        ("rows.txt", "neither of .jsonl, .csv, .parquet"),
        ("empty.jsonl", "holds no row"),
        ("cells.csv", "cells.csv:2: another number of cells"),
        ("torn.parquet", "not a parquet file"),
    ],
)
def test_what_is_no_data_is_said_in_one_line(path, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in {"rows.txt": "x", "empty.jsonl": "\n", "cells.csv": "a,b\n1\n", "torn.parquet": "PAR1"}.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=said) as error:
        data.read(Data(path=path), COLUMNS)
    assert "\n" not in str(error.value)


def test_an_unknown_column_is_answered_with_the_nearest(tmp_path):
    rows = write(tmp_path / "rows.jsonl", ROWS).model_copy(update={"response": "respnse"})
    with pytest.raises(UserError, match=r"data\.response=COLUMN: did you mean 'response'"):
        data.read(rows, COLUMNS)


def test_no_held_out_prompt_is_trained_on_and_the_split_depends_on_seed_and_prompt_alone():
    rows = [{"prompt": f"p{i % 40}", "response": str(i)} for i in range(400)]
    sides = data.split(rows, 0.25, 0)
    prompts = [{row["prompt"] for row in side} for side in (sides.train, sides.held_out)]
    assert not prompts[0] & prompts[1]
    assert len(sides.train) + len(sides.held_out) == 400
    assert data.split(rows[::-1], 0.25, 0).held_out == sides.held_out[::-1]
    assert data.split(rows, 0.25, 1) != sides
    alike = data.split([{"prompt": "", "response": str(i)} for i in range(400)], 0.25, 0)
    assert 60 <= len(alike.held_out) <= 140  # binomial(400, 1/4): 100 ± 4.6 standard deviations
    with pytest.raises(UserError, match="one side empty"):
        data.split(rows[:1], 0.25, 0)


def test_long_rows_are_counted_and_dropped_only_where_that_is_asked():
    rows = [{"response": "x" * n} for n in (1, 5, 9)]
    length = lambda row: len(row["response"])  # noqa: E731
    assert data.shorten(rows, Data(max_length=4), length) == (rows, 2, 9)
    assert data.shorten(rows, Data(max_length=5, long_rows="drop"), length) == (rows[:2], 1, 9)
    with pytest.raises(UserError, match="every row is longer"):
        data.shorten(rows[1:], Data(max_length=4, long_rows="drop"), length)
