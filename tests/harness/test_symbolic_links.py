"""What the harness writes beside its files goes where it says, and nothing of it stays behind."""

import os
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.records.rows import SignedLines
from harness.records.run_folder import RunFolder, write_text
from reports import whole_file


@pytest.fixture
def others(tmp_path) -> Path:
    """A file of somebody else's."""
    file = tmp_path / "others"
    file.write_text("mine")
    return file


def test_a_lock_that_is_a_symbolic_link_is_refused(others, tmp_path):
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    (run.path / ".lock").symlink_to(others)
    with pytest.raises(UserError, match=r"\.lock is a symbolic link"):
        run.open()
    assert others.read_text() == "mine"


def test_a_lock_is_not_emptied_by_whoever_asks_for_it(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    (run.path / ".lock").write_text("kept")
    run.open()
    run.close()
    assert (run.path / ".lock").read_text() == "kept"


@pytest.mark.parametrize("leads", ["to a file", "nowhere"])
def test_a_half_written_file_that_is_a_symbolic_link_is_replaced(leads, others, tmp_path):
    target = others if leads == "to a file" else tmp_path / "nowhere"
    (tmp_path / ".a.json.part").symlink_to(target)
    write_text(tmp_path / "a.json", "ours")
    assert (tmp_path / "a.json").read_text() == "ours"
    assert not (tmp_path / "a.json").is_symlink()
    assert others.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_rows_are_set_aside_past_a_symbolic_link(others, tmp_path):
    rows = SignedLines(tmp_path / "records" / "t.jsonl")
    rows.append([{"key": "a"}, {"key": "b"}])
    (rows.path.parent / ".t.jsonl.part").symlink_to(others)
    rows.reject([next(rows.read())])
    assert [row["key"] for row in rows] == ["b"]
    assert others.read_text() == "mine"


def test_what_a_killed_sweep_left_behind_is_gone_when_the_next_one_has_the_folder(tmp_path):
    run = RunFolder(tmp_path / "run")
    for name in ("", "report", "trials"):
        (run.path / name).mkdir(exist_ok=True)
        (run.path / name / ".a.json.part").write_text("half")
    run.open()
    run.close()
    assert [path.name for path in run.path.rglob("*") if path.is_file()] == [".lock"]


def test_what_a_failed_write_began_is_removed_and_the_file_is_as_it_was(tmp_path, monkeypatch):
    whole_file.replace(tmp_path / "a", b"before")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        whole_file.replace(tmp_path / "a", b"after")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"before"
