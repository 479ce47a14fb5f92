"""A trial's rows are parsed once by a process, and again only where their file has changed."""

import json
from collections import Counter
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import UserError
from harness.records.kept import KeptRows
from harness.records.run_folder import RunFolder
from harness.training.rounds import sampled
from reports import json_lines


def counted(monkeypatch) -> Counter:
    """Counts how often each line of a file is parsed, from here on."""
    parsed: Counter = Counter()
    real = json.loads

    class Counting:
        @staticmethod
        def loads(text):
            parsed[text] += 1
            return real(text)

    monkeypatch.setattr(json_lines, "json", Counting)
    return parsed


def test_a_second_run_of_a_finished_sweep_parses_every_row_once(tiny, command_line, tmp_path, monkeypatch, capsys):
    assert command_line(["sweep", *tiny], tmp_path).returncode == 0
    files = [file for kind in ("records", "scores", "judgements") for file in (tmp_path / "runs/tiny" / kind).iterdir()]
    rows = [line for file in files for line in file.read_bytes().splitlines(keepends=True)]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    parsed = counted(monkeypatch)
    assert main(["sweep", *tiny]) == 0
    assert "nothing to generate" in capsys.readouterr().out
    # the rows' checksums cover where they stand: no two lines are the same
    assert len(set(rows)) == len(rows) > 100
    assert parsed == Counter(rows)


def test_what_changes_is_read_again(tmp_path, monkeypatch):
    run = RunFolder(tmp_path)
    run.records("t").append({"key": name, "response": ""} for name in "ab")
    assert list(run.rows(run.records("t"))) == ["a", "b"]
    parsed = counted(monkeypatch)
    assert list(run.rows(run.records("t"))) == ["a", "b"]
    assert not parsed
    RunFolder(tmp_path).records("t").append([{"key": "c", "response": ""}])  # by somebody else
    assert list(run.rows(run.records("t"))) == ["a", "b", "c"]
    run.records("t").path.write_bytes(b"{}\n")
    with pytest.raises(UserError, match="without 'key'"):
        run.rows(run.records("t"))
    run.records("t").path.unlink()
    assert run.rows(run.records("t")) == {}


def test_no_more_is_kept_than_there_is_room_for(tmp_path):
    kept, read = KeptRows(size=10), []
    for name in ("a", "b", "a", "c", "b", "large", "large"):
        path: Path = tmp_path / name
        path.write_text("0123456789ABC"[: 13 if name == "large" else 5]) if not path.exists() else None
        kept.read(path, None, lambda name=name: read.append(name) or [])
    # "b" left when "c" came, and a file larger than the room is never kept
    assert read == ["a", "b", "c", "b", "large", "large"]


def test_a_damaged_round_of_a_training_is_named(tmp_path):
    file = tmp_path / "round_1.jsonl"
    file.write_text('{"prompt": "a", "response": "b", "reward": 1.0}\n{"prompt": "a", "resp')
    with pytest.raises(UserError, match=r"round_1.jsonl:2: not JSON"):
        sampled(file, None, ["a"], None, None, None, None)
