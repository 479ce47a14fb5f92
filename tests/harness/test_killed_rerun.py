"""A rerun that is stopped before its plan is complete leaves the report of the sweep before it as it was."""

import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.sweep.run import Stages


def trials() -> dict[str, dict]:
    return {path.name: json.loads(path.read_text()) for path in Path("runs/tiny/trials").glob("*.json")}


def reported() -> list:
    return json.loads(Path("runs/tiny/report/summary.json").read_text())


@pytest.mark.parametrize("stage", ["dev", "test"])
def test_a_kill_keeps_what_the_sweep_before_chose_and_the_split_it_reports(stage, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["guider=eft", "task.n_dev=2", "task.n_test=2", "seeds=[0]", "sampling.max_new_tokens=2"]
    first = ["sweep", *tiny, *small, "grid.weight=[0.5]"]
    assert main(first) == 0
    before, splits = trials(), [row["split"] for row in reported()]
    assert splits[0] == "test"
    run = Stages.run

    def killed(self, jobs, name):
        run(self, [] if name == stage else jobs, name)  # what a stage does before its first job
        if name == stage:
            raise KeyboardInterrupt

    monkeypatch.setattr(Stages, "run", killed)
    assert main(["sweep", *tiny, *small, "grid.weight=[2]"]) == 130
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    left = trials()
    assert {name: left[name] for name in before} == before
    assert main(["report", "run=runs/tiny"]) == 0
    # the settings that were chosen before are reported, on the split on which they were
    assert [row for row in reported() if row["split"] == "test"]
    assert reported()[0]["split"] == "test"
    assert main(first) == 0
    assert trials() == before
    assert main(["sweep", *tiny, *small, "grid.weight=[2]"]) == 0
    assert {row["settings"].get("weight") for row in trials().values()} == {None, 2.0}
