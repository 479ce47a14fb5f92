"""Weighted answers: self-normalised means against a known law, and what the report says of them."""

import json

import numpy as np
import pytest
from synthetic import Method, write_run

from reports import summary
from reports.answer import answer
from reports.run import load_run
from reports.table import build
from reports.weights import distortion, effective_size, self_normalised


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


def test_the_distortion_of_draws_whose_laws_are_known():
    """Two responses, L = (¾, ¼), π = (1/10, 3/10): G = (¼, ¾), KL(G ‖ L) = ½ log 3. One particle is a draw of L with
    the weight π/L; of draws in the proportions of L the estimate is exact."""
    ratio = np.log([[3 / 4 / 0.1] * 3 + [1 / 4 / 0.3]])
    assert distortion(ratio, -ratio) == pytest.approx(np.array([[0.5 * np.log(3)]]))
    assert distortion(ratio[:, :1], -ratio[:, :1]) == pytest.approx(np.zeros((1, 1)))  # one draw of one particle
    # a draw that got stuck weighs nothing, and halves the evidence: KL grows by log 2
    both = np.concatenate([ratio, np.full((1, 4), 5.0)], 1), np.concatenate([-ratio, np.full((1, 4), -1.7e308)], 1)
    assert distortion(*both) == pytest.approx(np.array([[0.5 * np.log(3) + np.log(2)]]))
    missing = np.full((1, 2), np.nan)
    found = distortion(np.stack([ratio[0, :2], missing[0]]), np.stack([np.full(2, -1.7e308), missing[0]]))
    assert np.isnan(found).all()


@pytest.mark.parametrize("held", [{"constraint": {"regex": "a"}}, {}])
def test_the_report_estimates_the_distortion_of_a_constraint_and_of_nothing_else(tmp_path, held):
    sample = {"search": {"_target_": "guiders.Sample"}}
    smc = Method("smc", {}, {"search": {"_target_": "my.Search"}, **held}, 1.0)
    write_run(tmp_path, grid=[Method("base", {}, sample, 0.0), smc], n_dev=0, n_test=12, hostile=False)
    trials = [json.loads(file.read_text()) for file in (tmp_path / "trials").glob("*.json")]
    for file in [tmp_path / "records" / f"{one['id']}.jsonl" for one in trials if one["method"] == "smc"]:
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        more = {"log_weight": -2.0, "log_ratio": 1.5, "value": 0.0}
        file.write_text("".join(json.dumps(row | more) + "\n" for row in rows))
    table = build(load_run(tmp_path), resamples=50)
    found = {row.setting.method: row.figures["distortion"] for row in table.rows}
    assert found["base"] is None
    assert (found["smc"] and found["smc"].mean) == (pytest.approx(0.5) if held else None)
    said = [line for line in answer(table).caveats if "distortion" in line]
    assert len(said) == bool(held)
    assert all("estimate" in line for line in said)
