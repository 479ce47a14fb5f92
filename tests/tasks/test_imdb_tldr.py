"""The paper's two tasks read rows of the published data sets' shape, and name one that is not."""

import json

import pytest

from tasks.errors import TaskError
from tasks.hub_rows import rows
from tasks.imdb import task as imdb
from tasks.tldr import task as tldr

IMDB = {"prompt": "I saw it with", "responses": [" a friend", " nobody"], "chosen": 0}
TLDR = {"prompt": "SUBREDDIT: r/x\nTITLE: y\nPOST: z\n", "chosen": "a", "rejected": "b", "new_chosen_label": 1}


def write(path, found):
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return str(path)


def test_the_columns_of_the_published_data_sets_give_the_prompts(tmp_path):
    found = imdb.load(write(tmp_path / "a.jsonl", [IMDB, {**IMDB, "prompt": "Then"}]))["test"]
    assert found["prompt"] == ["I saw it with", "Then"]
    assert tldr.load(write(tmp_path / "b.jsonl", [TLDR]))["test"]["prompt"] == [TLDR["prompt"]]


def test_summarisation_takes_the_first_thousand_of_the_shuffle_with_seed_42(tmp_path):
    import datasets

    many = [{**TLDR, "prompt": str(i)} for i in range(1300)]
    expected = datasets.Dataset.from_list(many).shuffle(seed=42).select(range(1000))["prompt"]
    assert tldr.load(write(tmp_path / "a.jsonl", many))["test"]["prompt"] == list(expected)


def test_parquet_is_read_alike(tmp_path):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([IMDB]), tmp_path / "a.parquet")
    assert imdb.load(str(tmp_path / "a.parquet"))["test"]["prompt"] == [IMDB["prompt"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"prompt": "a"}\n{"promt": "b"}\n', r"a.jsonl:2: no text 'prompt'"),
        ('{"prompt": "a"}\n{"prompt": " "}\n', r"a.jsonl:2: no text 'prompt'"),
        ('{"prompt": "a"}\n{"prom\n', r"a.jsonl:2: not JSON"),
        ("", "holds no row"),
    ],
)
def test_a_bad_row_is_named(text, said, tmp_path):
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(TaskError, match=said):
        rows("a/b", "test", ("prompt",), str(tmp_path / "a.jsonl"))


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(TaskError, match="no such file"):
        imdb.load(str(tmp_path / "nowhere.jsonl"))
