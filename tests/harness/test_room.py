"""What can be known is said before anything is decoded: long prompts of all trials, memory, disk."""

import collections
import json
import shutil
from pathlib import Path

import pytest
from test_long_prompts import TASK

from harness.cli import main
from harness.sweep.room import disk_bytes

ONE = ["guider=ivg", "grid.weight=1", "task.n_dev=2", "task.n_test=2", "seeds=[0]"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refused(arguments: list[str], capsys) -> str:
    assert main(arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert not list(Path(".").glob("runs/*/records/*.jsonl"))
    return line


def test_long_prompts_of_every_trial_are_named_by_their_documents(tiny, capsys):
    """Those of the test half too, which no dev trial asks: one line, and nothing decoded."""
    long = "I watched this film last night and the acting was fine. " * 12
    rows = ["The acting", "A film", long, "Last night", "I saw", long + "So"]
    Path("rows.jsonl").write_text("".join(json.dumps({"question": row}) + "\n" for row in rows))
    Path("mine.yaml").write_text(TASK)
    more = ["task=mine.yaml", "task.n_dev=null", "task.n_test=null", "select.metric=bypass", "judge=null"]
    line = refused(["sweep", *tiny, *more], capsys)
    assert line.count("document 2 of mine has") == 4  # the base, its guides, the value
    assert line.count("document 5 of mine has") == 4
    assert line.endswith("on_long_prompt=truncate")


def test_rows_beyond_memory_are_one_line_with_setting_need_and_what_there_is(tiny, capsys):
    line = refused(
        ["sweep", *tiny, *ONE, "grid.width=64", "grid.successors=512", "grid.rows=null", "memory=0.1"], capsys
    )
    assert "ivg weight=1 width=64 successors=512" in line
    assert "one prompt with 32768 rows needs " in line
    assert "decoding has 100 MB" in line
    assert "grid.successors" in line


def test_fewer_prompts_at_a_time_are_said_once_and_change_no_response(tiny, capsys):
    assert main(["sweep", *tiny, *ONE, "name=whole"]) == 0
    assert "at a time" not in capsys.readouterr().err
    assert main(["sweep", *tiny, *ONE, "name=less", "memory=0.00012"]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "at a time" in line]
    assert line.endswith("decoding has 120 kB: 1 prompt at a time")
    assert texts("less") == texts("whole")


def texts(name: str) -> dict:
    rows = [json.loads(line) for path in Path(f"runs/{name}/records").glob("*.jsonl") for line in path.open()]
    found = collections.Counter((row["key"], row["response"]) for row in rows)
    assert found
    return found


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(tiny, capsys, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 900, 900))
        line = refused(["sweep", *tiny, *ONE], capsys)
    assert "of disk, and 1 kB are free" in line
    assert "run_dir=PATH" in line


def test_the_estimate_of_the_disk_is_what_a_run_writes(tiny, monkeypatch):
    """Within a factor of two."""
    counted: list[int] = []
    from harness.sweep import room

    def noted(prompts, trace):
        counted.append(disk_bytes(prompts, trace))
        return counted[-1]

    monkeypatch.setattr(room, "disk_bytes", noted)
    assert main(["sweep", *tiny, *ONE]) == 0
    kinds = ("records", "scores", "judgements")
    written = sum(path.stat().st_size for kind in kinds for path in Path("runs/tiny", kind).glob("*.jsonl"))
    assert written / 2 < sum(counted) < written * 2


def test_a_dry_run_says_the_memory_and_a_time_that_grows_with_rows(tiny, capsys):
    """Of a setting that the machine could never hold: refused by the sweep, called too much by the dry run."""
    assert main(["sweep", *tiny, *ONE]) == 0
    capsys.readouterr()
    times = []
    for rows in (64, 256):
        more = [f"grid.successors={rows}", "grid.rows=null"]
        assert main(["sweep", "--dry-run", *tiny, *ONE, *more]) == 0
        out = capsys.readouterr().out
        assert f"one prompt with {2 * rows} rows needs " in out
        assert out.count(": enough") == 1
        times.append(out)
    assert main(["sweep", "--dry-run", *tiny, *ONE, "grid.successors=100000", "grid.rows=null", "memory=1"]) == 0
    out = capsys.readouterr().out
    assert ": too much" in out
