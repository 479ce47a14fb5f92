"""Weighted answers: self-normalised means against a known law, and what the report says of them."""

import json

import numpy as np
import pytest
from synthetic import Method, write_run

from reports import summary
from reports.answer import answer
from reports.run import load_run
from reports.table import build
from reports.weights import effective_size, self_normalised


def test_weights_correct_draws_of_another_law():
    """Draws of N(0, 1) with weights N(1, 1)/N(0, 1) = exp(y − ½) have the mean 1; without weights it is 0."""
    draws = np.random.default_rng(0).normal(size=(20, 4000))
    log_weights = draws - 0.5 + np.arange(20)[:, None] * 100  # a prompt's own constant is of no account
    means = self_normalised(draws, log_weights).mean(1)
    assert means.mean() == pytest.approx(1, abs=0.02)
    assert abs(draws.mean()) < 0.02


def test_the_mean_over_seeds_is_the_weighted_one_and_missing_figures_drop_out():
    figures = np.array([[1.0, 3.0, np.nan], [5.0, 7.0, 9.0]])
    log_weights = np.array([[0.0, np.log(3), 99.0], [1.0, 1.0, -np.inf]])
    found = self_normalised(figures, log_weights)
    assert np.nanmean(found, 1) == pytest.approx([2.5, 6.0])
    assert self_normalised(figures, np.full((2, 3), -2.0)) == pytest.approx(figures, nan_ok=True)


def test_the_effective_size():
    """Known: equal weights count all; one weight that outweighs the others counts one; (1, 3) is 16/10."""
    assert effective_size(np.zeros((3, 4))) == pytest.approx(12)
    assert effective_size([[0.0, -200.0, -300.0]]) == pytest.approx(1)
    assert effective_size([[0.0, np.log(3)], [np.nan, 5.0]]) == pytest.approx(1.6 + 1)


@pytest.fixture(scope="module")
def weighted(tmp_path_factory):
    """A run whose search weighs: seed 0 with weight 1 and seed 1 with weight 3."""
    folder = tmp_path_factory.mktemp("weighted") / "run"
    sample = {"search": {"_target_": "guiders.Sample"}}
    grid = [Method("base", {}, sample, 0.0), Method("smc", {}, {"search": {"_target_": "my.Search"}}, 1.0)]
    write_run(folder, grid=grid, n_dev=0, n_test=12, hostile=False)
    for file in (folder / "trials").glob("*.json"):
        trial = json.loads(file.read_text())
        if trial["method"] == "smc":
            records = folder / "records" / f"{trial['id']}.jsonl"
            rows = [json.loads(line) for line in records.read_text().splitlines()]
            weight = {0: 0.0, 1: float(np.log(3))}[trial["seed"]]
            records.write_text("".join(json.dumps(row | {"log_weight": weight}) + "\n" for row in rows))
    return load_run(folder)


def test_the_report_weighs_the_figures_and_not_the_costs(weighted):
    table = build(weighted, resamples=50)
    base, row = table.rows
    part = table.part(row.setting.id, "test")
    first, second = (part[part["seed"] == seed] for seed in (0, 1))
    for name in ("gold_reward", "fluency", "length"):
        assert row.figures[name].mean == pytest.approx(first[name].mean() / 4 + 3 * second[name].mean() / 4)
    wins = 100 * (first["preference"].mean() / 4 + 3 * second["preference"].mean() / 4 - 1)
    assert row.figures["win_rate"].mean == pytest.approx(wins)
    assert row.figures["forward_passes_per_token"].mean == pytest.approx(
        part["forward_passes"].sum() / part["n_tokens"].sum()
    )
    assert (row.answers, row.effective) == (24, pytest.approx(12 * 1.6))
    assert (base.answers, base.effective) == (None, None)
    assert row.figures["lc_win_rate"] is None
    assert row.uncontrolled == ""


def test_the_report_says_so(weighted):
    table = build(weighted, resamples=50)
    (said,) = [line for line in answer(table).caveats if "weighted" in line]
    assert said.startswith("smc, test: answers are weighted")
    assert "19.2 effective answers out of 24" in said
    lines = summary.as_csv(table.rows).splitlines()
    assert '"answers","effective_answers"' in lines[0]
    plain = summary.rows(table.rows)
    assert "answers" not in plain[0]
    assert plain[1]["effective_answers"] == pytest.approx(19.2)
