import dataclasses

import pytest
from synthetic import embedded_grid, write_run

from reports.compare import changes, combine
from reports.compile import compile_report
from reports.errors import ReportError
from reports.run import load_run
from reports.table import build


@pytest.fixture
def two(tmp_path):
    grid = embedded_grid()[:6]
    write_run(tmp_path / "before", grid=grid, n_dev=8, n_test=12, noise=0.0)
    # The truth of the second run: everything but the base gains a half more.
    later = [dataclasses.replace(item, gain=item.gain + 0.5 * (item.method != "base")) for item in grid]
    write_run(tmp_path / "after", grid=later, n_dev=8, n_test=12, noise=0.0)
    return tmp_path / "before", tmp_path / "after"


def test_the_same_setting_in_two_runs_is_compared_on_its_pairs(two):
    table = build(combine([load_run(path) for path in two]), resamples=50)
    found = {change.label: change.difference for change in changes(table, ["gold_reward"], "test")}
    assert len(found) == 3
    for label, gap in found.items():
        known = 0.0 if label == "base" else 0.5
        assert (gap.mean, gap.low, gap.high) == pytest.approx((known, known, known), abs=1e-9)


def test_unequal_prompts_are_refused_by_name_unless_the_common_ones_are_asked_for(two, tmp_path):
    before, after = two
    dropped = None
    for file in (after / "records").iterdir():
        rows = file.read_text().splitlines(keepends=True)
        if len(rows) == 12:
            dropped = rows[3].split('"key": "')[1][:16]
            file.write_text("".join(rows[:3] + rows[4:]))
    with pytest.raises(ReportError, match=f"after: lacks 1 test prompts .*{dropped}"):
        compile_report([before, after], tmp_path / "out", resamples=20)
    report = compile_report([before, after], tmp_path / "out", common=True, resamples=20)
    assert {row.n_prompts for row in report.rows if row.split == "test"} == {11}
    assert {row["run"] for row in report.summary()} == {"before", "after"}


def test_runs_of_one_name_are_told_apart(two, tmp_path):
    before, after = two
    (tmp_path / "x").mkdir()
    moved = after.rename(tmp_path / "x" / "before")
    run = combine([load_run(before), load_run(moved)])
    assert len({setting.run for setting in run.settings.values()}) == 2


def test_runs_without_a_common_split(tmp_path):
    grid = embedded_grid()[:2]
    write_run(tmp_path / "a", grid=grid, n_dev=5, n_test=0)
    write_run(tmp_path / "b", grid=grid, n_dev=0, n_test=5)
    with pytest.raises(ReportError, match="no split"):
        combine([load_run(tmp_path / "a"), load_run(tmp_path / "b")])
