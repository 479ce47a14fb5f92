"""The attacks do what they say: a kill in a write leaves half of it, a fault is raised where it was ordered, and the
judge of a broken run is not satisfied."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.torture.attempt import Attempt
from benchmarks.torture.case import drawn
from benchmarks.torture.faults import survived
from benchmarks.torture.scene import content, difference

ROOT = Path(__file__).resolve().parents[2]
WORK = """
import os, pathlib, sys
from benchmarks.torture import events
folder = pathlib.Path(sys.argv[1])
events.install(folder, {act})
with open(folder / "a", "wb") as file:
    file.write(b"12345678")
    file.flush()
    os.fsync(file.fileno())
os.replace(folder / "a", folder / "b")
(folder.parent / "outside").write_text("not attacked")
(folder / "b").read_bytes()
"""


def work(act: str, folder: Path) -> subprocess.CompletedProcess:
    folder.mkdir()
    command = [sys.executable, "-c", WORK.format(act=act), str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_every_event_is_listed_in_its_order(tmp_path):
    done = work("events.listed(1)", tmp_path / "run")
    assert done.stdout.split() == ["open", "write", "sync", "rename", "read"]


@pytest.mark.parametrize(
    ("number", "left"),
    [(0, {}), (1, {"a": "1234"}), (2, {"a": "12345678"}), (3, {"a": "12345678"}), (4, {"b": "12345678"})],
)
def test_a_kill_comes_at_its_event_and_within_a_write(number, left, tmp_path):
    assert work(f"events.killed_at({number})", tmp_path / "run").returncode == -9
    assert {path.name: path.read_text() for path in (tmp_path / "run").iterdir()} == left


@pytest.mark.parametrize("kind", ["open", "write", "sync", "rename", "read"])
def test_a_fault_is_raised_where_it_was_ordered(kind, tmp_path):
    done = work(f"events.failing_at({kind!r}, 0, {errno.EIO}, False)", tmp_path / "run")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("OSError: [Errno 5]")
    assert work(f"events.failing_at({kind!r}, 1, {errno.EIO}, False)", tmp_path / "again").returncode == 0


@pytest.mark.parametrize(
    ("done", "wrong"),
    [
        (Attempt(2, "", "dev: 1 s\nerror: disk: full\n", 1.0), None),
        (Attempt(0, "", "", 1.0), None),
        (Attempt(70, "", "Traceback\nOSError: full\n", 1.0), "70"),
        (Attempt(2, "", "Traceback (most recent call last)\nerror: disk: full\n", 1.0), "ends with 2"),
        (Attempt(2, "", "", 1.0), "ends with 2"),
        (Attempt(-9, "", "", 120.0, hung=True), "hangs"),
    ],
)
def test_a_fault_is_survived_with_one_line_and_exit_code_2_alone(done, wrong):
    assert (survived(done) is None) == (wrong is None)
    assert wrong is None or wrong in survived(done)


def test_a_run_is_compared_row_by_row_and_what_a_kill_leaves_behind_is_found(tmp_path):
    for name in ("whole", "other"):
        run = tmp_path / name / "run"
        (run / "tax").mkdir(parents=True)
        (run / "report").mkdir()
        (run / "report" / "tax.md").write_text("a table")
        (run / "manifest.json").write_text(json.dumps({"date": name, "device": "cpu"}))
        row = {"key": "a", "task": "x", "scores": {}, "checksum": name}
        (run / "tax" / "t.jsonl").write_text(json.dumps(row) + "\n")
    assert difference(content(tmp_path / "whole" / "run"), content(run)) is None
    (run / "tax" / ".t.json.part").write_text("")
    assert ".t.json.part" in difference(content(tmp_path / "whole" / "run"), content(run))
    (run / "tax" / ".t.json.part").unlink()
    (run / "tax" / "t.jsonl").write_text('{"key": "a", "task": "x", "scores": {"acc": 1}}\n')
    assert "t.jsonl" in difference(content(tmp_path / "whole" / "run"), content(run))


def test_what_is_drawn_is_the_same_for_a_seed():
    assert drawn(range(100), 10, 12) == drawn(range(100), 10, 12) == sorted(drawn(range(100), 10, 12))
    assert len(set(drawn(range(100), 10, 12))) == 10
    assert drawn([1, 2], 10, 0) == drawn([1, 2], None, 0) == [1, 2]
