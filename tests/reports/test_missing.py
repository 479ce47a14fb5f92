"""What is missing is counted per metric and named, and every figure says how many prompts it is over."""

import csv
import json
import math
from pathlib import Path

import pytest
from synthetic import embedded_grid, write_run

from reports.compile import compile_report
from reports.run import load_run
from reports.table import build


@pytest.fixture
def folder(tmp_path) -> Path:
    """A run whose task has a score called `length`, as the reviews task has."""
    write_run(tmp_path / "run", grid=embedded_grid()[:2], n_dev=0, n_test=20, seeds=(0,))
    for file in (tmp_path / "run" / "scores").iterdir():
        lengths = {row["key"]: len(row["response"]) for row in read(tmp_path / "run/records" / file.name)}
        change(file, lambda row, lengths=lengths: row["scores"].update(length=float(lengths[row["key"]])))
    return tmp_path / "run"


def read(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def write(file: Path, rows: list[dict]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def change(file: Path, one) -> None:
    """Apply `one` to every row of a file, in place."""
    rows = read(file)
    for row in rows:
        one(row)
    write(file, rows)


def scores_of(folder: Path, method: str) -> Path:
    (trial,) = [t for t in (json.loads(f.read_text()) for f in (folder / "trials").iterdir()) if t["method"] == method]
    return folder / "scores" / f"{trial['id']}.jsonl"


def holes(folder: Path) -> dict[tuple[str, str], int]:
    return {(hole.what, hole.metric): len(hole.keys) for hole in load_run(folder).missing}


def test_the_lowest_scores_cannot_be_deleted_unnoticed(folder, tmp_path):
    file = scores_of(folder, "best_of_n")
    kept = sorted(read(file), key=lambda row: row["scores"]["gold_reward"])[12:]
    write(file, kept)
    assert holes(folder) == {("score", metric): 12 for metric in ("gold_reward", "fluency", "length")}
    report = compile_report([folder], tmp_path / "out", resamples=20)
    (row,) = [row for row in json.loads((tmp_path / "out/summary.json").read_text()) if row["method"] == "best_of_n"]
    assert row["n_prompts"] == 20
    assert row["gold_reward"]["mean"] == pytest.approx(sum(row["scores"]["gold_reward"] for row in kept) / 8)
    assert (row["gold_reward"]["n"], row["fluency"]["n"], row["length"]["n"], row["kl"]["n"]) == (8, 8, 20, 20)
    (cells,) = [c for c in csv.DictReader((tmp_path / "out/summary.csv").open()) if c["method"] == "best_of_n"]
    assert (cells["gold_reward_n"], cells["length_n"]) == ("8", "20")
    (caveat,) = [caveat for caveat in report.answer.caveats if caveat.startswith("Missing")]
    assert f"12 gold_reward scores (12 in {file.stem} (test, seed 0))" in caveat
    page = (tmp_path / "out/index.html").read_text()
    assert "<td>12 gold_reward scores</td>" in page
    assert page.count('<span class="interval">n = 8</span>') >= 4  # both figures in both tables, and the difference
    assert "(n = 8)" in (tmp_path / "out/summary.md").read_text()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None, "high"])
def test_a_score_that_is_no_number_is_missing_for_its_metric_alone(folder, bad):
    rows = read(scores_of(folder, "best_of_n"))
    rows[3]["scores"]["gold_reward"] = bad
    write(scores_of(folder, "best_of_n"), rows)
    assert holes(folder) == {("score", "gold_reward"): 1}
    (hole,) = load_run(folder).missing
    assert hole.keys == (rows[3]["key"],)
    (row,) = [row for row in build(load_run(folder), resamples=20).rows if row.setting.method == "best_of_n"]
    assert (row.figures["gold_reward"].n, row.figures["fluency"].n) == (19, 20)
    others = [row["scores"]["gold_reward"] for i, row in enumerate(rows) if i != 3]
    assert row.figures["gold_reward"].mean == pytest.approx(sum(others) / 19)


def test_a_trial_without_any_scores_lacks_them_all(folder):
    scores_of(folder, "best_of_n").unlink()
    assert holes(folder) == {("score", "gold_reward"): 20, ("score", "fluency"): 20, ("score", "length"): 20}


def test_a_split_without_any_scores_lacks_what_the_other_has(tmp_path):
    write_run(tmp_path / "run", grid=embedded_grid()[:1], n_dev=6, n_test=8, seeds=(0,))
    for file in (tmp_path / "run/trials").iterdir():
        trial = json.loads(file.read_text())
        file.write_text(json.dumps(trial | {"task": f"task_{trial['split']}"}))
        if trial["split"] == "test":
            (tmp_path / "run/scores" / f"{trial['id']}.jsonl").unlink()
    assert holes(tmp_path / "run") == {("score", "gold_reward"): 8, ("score", "fluency"): 8}


def test_a_metric_that_no_trial_has_of_a_document_is_not_missing_there(folder):
    """lm-eval's tasks may score some documents by a metric and others not."""
    for file in (folder / "scores").iterdir():
        rows = read(file)
        for row in rows[:5]:
            row["scores"]["only_some"] = 1.0
        write(file, rows)
    assert holes(folder) == {}
    assert [row.figures["only_some"].n for row in build(load_run(folder), resamples=20).rows] == [5, 5]


def test_a_figure_of_a_record_that_is_no_number_is_missing(folder):
    file = folder / "records" / scores_of(folder, "best_of_n").name
    rows = read(file)
    rows[0]["kl"], rows[1]["value"] = math.nan, -math.inf
    rows[2]["forward_passes"] = None
    write(file, rows)
    assert holes(folder) == {("figure", "kl"): 1, ("figure", "value"): 1, ("figure", "forward_passes"): 1}


def test_a_score_of_the_name_of_a_column_of_the_report_keeps_its_own_figures(folder):
    """`length` in characters is the report's own; a task's `length` in words, or its `kl`, stands beside it."""
    for file in (folder / "scores").iterdir():
        change(file, lambda row: row["scores"].update(kl=7.0, length=row["scores"]["length"] + 1, prompt=2.0))
    run = load_run(folder)
    assert run.metrics == ["gold_reward", "fluency", "task_length", "task_kl", "task_prompt"]
    assert (run.records["length"] == run.records["response"].str.len()).all()
    assert (run.records["task_length"] == run.records["length"] + 1).all()
    assert (run.records["task_kl"] == 7).all()
    assert (run.records["kl"] != 7).all()
    assert run.records["prompt"].str.startswith("test prompt").all()
