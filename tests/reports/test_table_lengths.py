"""The report's length-controlled column, from a run's folder."""

import csv
import gzip
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from synthetic import embedded_grid, write_run

from reports.answer import answer
from reports.length_control import length_controlled_win_rate
from reports.run import load_run
from reports.table import build

SHARED = Path(os.environ.get("SHARED_DIR", Path(__file__).parents[2] / ".." / "shared")) / "data" / "alpaca_eval"


@pytest.fixture
def alpaca_run(tmp_path):
    """A run's folder made of AlpacaEval's recorded responses of one model and its baseline."""
    if not SHARED.is_dir():
        pytest.skip("needs the recorded AlpacaEval responses in ../shared/data/alpaca_eval (or SHARED_DIR)")
    files = (SHARED / "outputs" / f"{name}.json.gz" for name in ("gemma-2b-it", "gpt4_1106_preview"))
    ours, theirs = (json.loads(gzip.decompress(file.read_bytes())) for file in files)
    reference = {row["instruction"]: row["output"] for row in theirs}
    trial = {"id": "gemma", "setting": "gemma", "method": "gemma", "split": "all", "seed": 0, "task": "alpaca_eval"}
    records, judgements = [], []
    for i, row in enumerate(ours):
        key = hashlib.sha256(row["instruction"].encode()).hexdigest()[:16]
        records.append({"key": key, "index": i, "prompt": row["instruction"], "response": row["output"]})
        judgements.append(
            {
                "key": key,
                "preference": row["preference"],
                "len_1": len(reference[row["instruction"]]),
                "len_2": len(row["output"]),
                "judge": "weighted_alpaca_eval_gpt4_turbo:gpt-4-1106-preview",
                "baseline": "gpt4_1106_preview",
            }
        )
    for folder, rows in (("records", records), ("judgements", judgements)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "gemma.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials" / "gemma.json").write_text(json.dumps(trial))
    return tmp_path


def test_the_published_figures_come_out_of_a_run_on_alpaca_eval(alpaca_run):
    with (SHARED / "leaderboard.csv").open(newline="") as file:
        published = next(row for row in csv.DictReader(file) if "gemma-2b-it" in row.values())
    row = build(load_run(alpaca_run), resamples=20).rows[0]
    assert row.difficulty is True
    assert row.figures["win_rate"].mean == pytest.approx(float(published["win_rate"]), abs=1e-6)
    expected = float(published["length_controlled_winrate"])
    assert row.figures["lc_win_rate"].mean == pytest.approx(expected, abs=0.02)
    assert row.figures["length"].mean == pytest.approx(float(published["avg_length"]), abs=1)


@pytest.mark.parametrize(("field", "other"), [("judge", "gold:alpaca_eval"), ("baseline", "base-0f3c")])
def test_another_judge_or_baseline_has_no_difficulty(alpaca_run, field, other):
    """A judge that does not look at length: length control changes nothing. With the published difficulty and gamed
    baselines, which are GPT-4 Turbo's, this longer model would have 41%."""
    file = alpaca_run / "judgements" / "gemma.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rng = np.random.default_rng(0)
    for row in rows:
        row |= {
            field: other,
            "preference": 1 + rng.beta(30, 30),
            "len_2": round(row["len_1"] * rng.lognormal(0.5, 0.3)),
        }
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = build(load_run(alpaca_run), resamples=20)
    (row,) = table.rows
    assert row.difficulty is False
    assert row.figures["lc_win_rate"].mean == pytest.approx(50, abs=1.5)
    assert any("their judge" in caveat for caveat in answer(table).caveats)


def test_all_lost_has_no_length_controlled_rate_and_an_exact_interval_of_the_plain_one(tmp_path):
    write_run(tmp_path / "run", grid=embedded_grid()[:2], n_dev=0, n_test=60)
    for file in (tmp_path / "run" / "judgements").glob("*.jsonl"):
        rows = [json.loads(line) | {"preference": 1.0} for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = build(load_run(tmp_path / "run"), resamples=50)
    row = next(row for row in table.rows if row.setting.method != "base")
    assert row.figures["lc_win_rate"] is None
    plain = row.figures["win_rate"]
    assert (plain.mean, plain.low, plain.high) == pytest.approx((0, 0, 100 * binomtest(0, 60).proportion_ci().high))
    assert any("0 of 60 prompts won" in caveat for caveat in answer(table).caveats)


def test_on_other_prompts_all_seeds_are_fitted_together_and_the_report_says_so(tmp_path):
    write_run(tmp_path / "run", grid=embedded_grid()[:2], n_dev=0, n_test=60)
    run = load_run(tmp_path / "run")
    table = build(run, resamples=20)
    row = next(row for row in table.rows if row.setting.method != "base")
    part = table.part(row.setting.id, "test")
    pooled = pd.concat([part[part["seed"] == seed].sort_values("index") for seed in (0, 1)])
    known = length_controlled_win_rate(pooled[["preference", "len_1", "len_2"]], calibration=None)
    assert row.figures["lc_win_rate"].mean == pytest.approx(known.lc_win_rate)
    assert row.figures["lc_win_rate"].n == 60
    assert any("No published instruction difficulty" in caveat for caveat in answer(table).caveats)


def test_too_few_judgements_leave_the_column_empty_with_the_reason(tmp_path):
    write_run(tmp_path / "run", grid=embedded_grid()[:2], n_dev=3, n_test=0)
    table = build(load_run(tmp_path / "run"), resamples=20)
    row = next(row for row in table.rows if row.setting.method != "base")
    assert row.figures["lc_win_rate"] is None
    assert row.figures["win_rate"] is not None
    assert any("needs at least 5" in caveat for caveat in answer(table).caveats)
