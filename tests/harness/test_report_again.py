"""A finished sweep, run again: its report is compiled again where something has changed, whatever the clock says."""

import json
import os
from pathlib import Path

import pytest

from harness.cli import main

LATER = 4_000_000_000  # in the year 2096: every clock since has gone backwards


@pytest.fixture
def options(tiny, tmp_path, monkeypatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    more = ["preset=gate", "guider=[base,eft]", "grid.weight=1", "task.n_test=3", "seeds=[0]"]
    return ["sweep", *tiny, *more, "sampling.max_new_tokens=3"]


def page_of_later() -> None:
    for file in Path("runs/tiny/report").iterdir():
        os.utime(file, (LATER, LATER))


def win_rates() -> list:
    return [row["win_rate"] for row in json.loads(Path("runs/tiny/report/summary.json").read_text())]


def test_a_finished_gate_run_again_says_the_same_and_writes_nothing(options, capsys):
    assert main(options) == 0
    first = capsys.readouterr().out
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path("runs/tiny").rglob("*.*")}
    assert main(options) == 0
    second = capsys.readouterr().out
    assert "nothing to generate" in second
    assert first.endswith(second.partition("\n")[2])  # the table, the notes, the place of the report
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path("runs/tiny").rglob("*.*")}
    lock = Path("runs/tiny/.lock")
    assert {**after, lock: None} == {**before, lock: None}


def test_what_was_judged_since_is_in_the_report_although_the_clock_went_backwards(options, capsys):
    assert main([*options, "judge=null"]) == 0
    assert not any(win_rates())
    page_of_later()
    assert main(options) == 0
    assert "nothing to generate" in capsys.readouterr().out
    assert any(win_rates())


@pytest.mark.parametrize("file", ["table.txt", "made_of.txt", "index.html"])
def test_a_report_without_one_of_its_files_is_compiled_again(file, options):
    assert main(options) == 0
    page = Path("runs/tiny/report/index.html").read_bytes()
    (Path("runs/tiny/report") / file).unlink()
    page_of_later()
    assert main(options) == 0
    assert Path("runs/tiny/report/index.html").read_bytes() == page
    assert (Path("runs/tiny/report") / file).exists()


def test_another_report_in_the_same_folder_is_not_taken_for_the_sweeps(options, capsys):
    assert main(options) == 0
    page = Path("runs/tiny/report/index.html").read_bytes()
    assert main(["report", "run=runs/tiny", "metric=fluency"]) == 0
    assert Path("runs/tiny/report/index.html").read_bytes() != page
    assert main(options) == 0
    assert Path("runs/tiny/report/index.html").read_bytes() == page
