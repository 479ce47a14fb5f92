import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
from synthetic import embedded_grid, write_run

from reports.answer import answer
from reports.run import load_run
from reports.setting import RecordedSetting
from reports.table import build


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """A run without noise: every prompt gains exactly what its setting's truth says."""
    folder = tmp_path_factory.mktemp("exact") / "run"
    truth = write_run(folder, n_dev=12, n_test=16, noise=0.0)
    shutil.rmtree(folder / "judgements")  # length control has its own tests
    return folder, truth, build(load_run(folder), resamples=20)


def by_hand(folder, setting, split):
    """The records of a setting, read without the report's code."""
    rows = []
    for file in (folder / "trials").glob("*.json"):
        trial = json.loads(file.read_text())
        if trial["setting"] == setting and trial["split"] == split:
            rows += [
                json.loads(line) for line in (folder / "records" / f"{trial['id']}.jsonl").read_text().splitlines()
            ]
    return rows


def test_gains_are_paired_so_that_without_noise_they_are_exact(exact):
    _, truth, table = exact
    found = answer(table)
    for comparison in found.comparisons:
        known = truth[found.best.setting.id].gain - truth[comparison.other.setting.id].gain
        gap = comparison.difference
        assert (gap.mean, gap.low, gap.high) == pytest.approx((known, known, known), abs=1e-9)


def test_the_best_is_chosen_on_dev_and_its_runner_up_is_second(exact):
    _, truth, table = exact
    found = answer(table)
    gains = {}
    for item in truth.values():
        gains[item.method] = max(gains.get(item.method, -math.inf), item.gain)
    ranked = sorted((m for m in gains if m != "base"), key=gains.get, reverse=True)
    assert truth[found.best.setting.id].gain == gains[ranked[0]]
    assert [c.other.setting.method for c in found.comparisons] == ["base", *ranked[1:]]
    assert (found.chosen_on, found.reported_on) == ("dev", "test")


def test_ratios_are_sums_over_sums(exact):
    folder, truth, table = exact
    setting = next(id for id, item in truth.items() if item.method == "ivg" and table.row(id, "test"))
    records = by_hand(folder, setting, "test")
    row = table.row(setting, "test").figures
    tokens = sum(r["n_tokens"] for r in records)
    assert row["tokens_per_second"].mean == pytest.approx(tokens / sum(r["seconds"] for r in records))
    assert row["forward_passes_per_token"].mean == pytest.approx(sum(r["forward_passes"] for r in records) / tokens)
    computed = row["computed_passes_per_token"]
    assert computed.mean == pytest.approx(sum(r["computed_passes"] for r in records) / tokens)
    assert row["length"].mean == pytest.approx(np.mean([len(r["response"]) for r in records]))


def test_kl_is_the_bound_for_a_search_and_exact_without(exact):
    folder, truth, table = exact
    for row in table.rows:
        item = truth[row.setting.id]
        assert row.kl_bound == (item.kl_search > 0)
        if item.method == "best_of_n":
            n = item.settings["n"]
            assert row.figures["kl"].mean == pytest.approx(math.log(n) - (n - 1) / n)
        if item.method == "base":
            assert row.figures["kl"].mean == 0
        records = by_hand(folder, row.setting.id, row.split)
        if item.method == "ivg":  # guided tokens in a search: not the path's own sum, which a search has chosen
            expected = [r["kl_search"] + r["log_ratio"] for r in records]
            assert row.figures["kl"].mean == pytest.approx(np.mean(expected))
        if item.method == "eft":
            assert row.figures["kl"].mean == pytest.approx(np.mean([r["kl"] for r in records]))


def test_a_guided_search_of_which_no_log_ratio_was_recorded_has_no_bound(tmp_path):
    """Records from before the column: an unguided search's bound holds, the sum that was shown for others is none."""
    truth = write_run(tmp_path / "run", n_dev=6, n_test=0)
    for file in (tmp_path / "run" / "records").iterdir():
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps({k: v for k, v in r.items() if k != "log_ratio"}) + "\n" for r in rows))
    table = build(load_run(tmp_path / "run"), resamples=20)
    for row in table.rows:
        assert (row.figures["kl"] is None) == (truth[row.setting.id].method == "ivg")
        if row.setting.method == "best_of_n":
            assert row.figures["kl"].mean == pytest.approx(truth[row.setting.id].kl_search)


def test_seeds_of_a_prompt_are_one_prompt(exact):
    _, _, table = exact
    for row in table.on("test"):
        assert (row.n_prompts, row.seeds, row.figures["gold_reward"].n) == (16, (0, 1), 16)


def test_a_draw_that_is_no_draw_would_be_rejected(tmp_path):
    """A method equal to the base in truth is not told apart from it, one far above is, after Holm."""
    grid = embedded_grid()
    base, strong = grid[0], max(grid, key=lambda item: item.gain)
    equal = dataclasses.replace(grid[1], gain=0.0)
    write_run(tmp_path / "run", grid=[base, equal, strong], n_dev=20, n_test=60)
    found = answer(build(load_run(tmp_path / "run"), resamples=400))
    assert found.best.setting.method == strong.method
    assert all(c.p_holm < 0.01 for c in found.comparisons)
    assert all(c.p_holm >= c.difference.p_value for c in found.comparisons)


def test_equal_rows_takes_settings_with_the_best_ones_rows(exact):
    _, _, table = exact
    found = answer(table)
    for row in found.equal_rows:
        if row.setting.method not in ("base", "eft"):
            assert row.setting.rows == found.best.setting.rows == 16


@pytest.mark.parametrize(("n_dev", "n_test", "reported"), [(10, 0, "dev"), (0, 10, "test")])
def test_a_run_in_progress_compiles_and_says_what_it_lacks(tmp_path, n_dev, n_test, reported):
    write_run(tmp_path / "run", n_dev=n_dev, n_test=n_test, grid=embedded_grid()[:6])
    found = answer(build(load_run(tmp_path / "run"), resamples=50))
    assert found.reported_on == found.chosen_on == reported
    assert any("same prompts" in caveat for caveat in found.caveats)


def test_only_a_base(tmp_path):
    write_run(tmp_path / "run", n_dev=5, n_test=0, grid=embedded_grid()[:1])
    found = answer(build(load_run(tmp_path / "run"), resamples=50))
    assert found.best is None
    assert "nothing to compare" in found.sentence


def test_rows_and_labels_of_a_setting():
    trial = {"setting": "x", "method": "ivg", "settings": {"grid.weight": 1.5, "beam": "4x2"}}
    guider = {"token": {"weight": 1.5}, "search": {"width": 4, "successors": 2, "length": 5}}
    setting = RecordedSetting.of(trial | {"guider": guider})
    assert setting.rows == 8
    assert setting.label == "IVG · W 4 · K 2 · L 5 · weight 1.5"
    best = RecordedSetting.of({"setting": "y", "method": "best_of_n", "settings": {"n": 16}})
    assert (best.rows, best.label) == (16, "best of N · N 16")
    assert RecordedSetting.of({"setting": "z", "method": "base"}).rows == 1
