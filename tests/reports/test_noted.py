"""What guides note of their responses: figures of which neither way is better, shown where many rows have them."""

import json

import pytest
from synthetic import Method, write_run

from reports.compile import compile_report
from reports.errors import ReportError
from reports.summary import shown

GRID = [Method("base", {}, {}, 0.0), *(Method(name, {}, {}, 1.0) for name in ("aad", "mod", "nudging", "nash_md", "q"))]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """`nudged` is noted by one method of six, `large` by all but the base; 0.25 and 0.75 in turn."""
    folder = tmp_path_factory.mktemp("noted") / "run"
    write_run(folder, grid=GRID, n_dev=8, n_test=8, noise=0.0, hostile=False, trace=False)
    for file in (folder / "trials").glob("*.json"):
        method = json.loads(file.read_text())["method"]
        lines = folder / "records" / f"{file.stem}.jsonl"
        rows = [json.loads(line) for line in lines.read_text().splitlines()]
        for place, row in enumerate(rows):
            share = 0.25 if place % 2 else 0.75
            noted = {} if method == "base" else {"large": share}
            row |= {"notes": noted | {"nudged": share} if method == "nudging" else noted}
        lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_note_is_a_figure_without_a_better_way(run, tmp_path):
    report = compile_report([run], tmp_path, resamples=20)
    (row,) = [row for row in report.rows if row.setting.method == "nudging" and row.split == "test"]
    assert row.figures["nudged"].mean == pytest.approx(0.5)
    assert report.answer.heading("large") == "large"
    assert report.answer.heading("gold_reward").endswith("↑")
    with pytest.raises(ReportError, match="metric=large: neither way of large is better"):
        compile_report([run], tmp_path, resamples=20, metric="large")


def test_a_note_of_few_rows_is_in_the_files_alone(run, tmp_path):
    report = compile_report([run], tmp_path, resamples=20)
    names = shown(report.rows, report.answer.directions)
    assert "large" in names
    assert "nudged" not in names
    assert "nudged" in (tmp_path / "summary.csv").read_text().splitlines()[0]
