"""The table of the alignment tax: pairs of documents, resampled as everything else is."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from reports.errors import ReportError
from reports.tax import TaxScores, compare, markdown, read


def scores(method: str, subtasks: dict | None = None, figures: dict | None = None, **tasks) -> TaxScores:
    """A setting whose tasks have these scores by document, aggregated to their mean or to `figures`."""
    results = {task: {"acc,none": float(np.mean(values))} for task, values in tasks.items()}
    return TaxScores(
        method=method,
        settings={} if method == "base" else {"weight": 1.0},
        results=results | {task: {"acc,none": figure} for task, figure in (figures or {}).items()},
        n={task: len(values) for task, values in tasks.items()},
        subtasks=subtasks or {},
        documents={(task, "acc,none"): dict(enumerate(map(float, values))) for task, values in tasks.items()},
    )


def coins(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, n).astype(float)


def test_the_interval_is_of_the_pairs():
    """Accuracy on 400 documents of which guidance changes twelve: scipy's bootstrap of the gaps, not of two samples."""
    base = np.repeat([0.0, 1.0], 200)
    guided = base.copy()
    guided[:12] = 1
    (row,) = compare(scores("base", task=base), [scores("eft", task=guided)])
    gap = guided - base
    assert (row["difference"], row["n"]) == (pytest.approx(0.03), 400)
    # ours joins the two (docs/statistics.md)
    bca, percentile = (
        stats.bootstrap((gap,), np.mean, n_resamples=9999, method=method, rng=0).confidence_interval
        for method in ("BCa", "percentile")
    )
    assert row["low"] == pytest.approx(min(bca.low, percentile.low), abs=1 / 400)  # means are that far apart
    assert row["high"] == pytest.approx(max(bca.high, percentile.high), abs=1 / 400)
    independent = 1.96 * math.hypot(base.std(), guided.std()) / math.sqrt(400)
    assert row["high"] - row["low"] < 0.6 * 2 * independent
    assert row["low"] > 0 > 0.03 - independent  # which the two taken as independent did not tell apart
    # all twelve changed to the better: the sign test's probability is 2 · 2^-12, below what 9,999 flips resolve
    assert row["p_permutation"] < 0.002


def test_three_changed_answers_prove_nothing():
    base = coins(60)
    guided = base.copy()
    guided[np.flatnonzero(base == 0)[:3]] = 1
    (row,) = compare(scores("base", task=base), [scores("eft", task=guided)])
    assert row["p_permutation"] == pytest.approx(stats.binomtest(3, 3).pvalue, abs=0.02)  # 2 · 2^-3


def test_equal_answers_have_no_width_and_the_family_is_corrected():
    base = coins(50)
    worse = np.where(np.arange(50) < 8, 0, base)
    rows = compare(scores("base", one=base, two=base), [scores("eft", one=base, two=worse)])
    assert [row["task"] for row in rows] == ["one", "two"]
    assert (rows[0]["low"], rows[0]["high"], rows[0]["p_value"]) == (0, 0, 1)
    assert rows[1]["p_holm"] == pytest.approx(2 * rows[1]["p_value"])


def test_a_score_that_is_no_mean_over_documents_has_no_interval():
    """A perplexity is exp of minus the mean: its documents' log-likelihoods are not its pairs."""
    logs = -np.linspace(0.5, 3, 20)
    base = scores("base", figures={"text": math.exp(-logs.mean())}, text=logs)
    guided = scores("eft", figures={"text": math.exp(-logs.mean() - 0.1)}, text=logs + 0.1)
    (row,) = compare(base, [guided])
    assert row["difference"] == pytest.approx(math.exp(-logs.mean() - 0.1) - math.exp(-logs.mean()))
    assert {row[name] for name in ("low", "high", "p_value", "p_permutation", "p_holm")} == {None}
    assert row["n"] == 20
    assert markdown([row]).splitlines()[-1].endswith(" |  |")


def test_a_group_is_all_its_tasks_documents_where_it_is_their_mean():
    def setting(method: str, shift: float, micro: bool) -> TaxScores:
        one, two = coins(30, 1) + shift, coins(10, 2) + shift
        figure = np.concatenate([one, two]).mean() if micro else (one.mean() + two.mean()) / 2
        return scores(method, {"all": ["inner"], "inner": ["one", "two"]}, {"all": float(figure)}, one=one, two=two)

    for micro, interval in ((True, (0.25, 0.25)), (False, (None, None))):
        rows = compare(setting("base", 0, micro), [setting("eft", 0.25, micro)])
        (row,) = [row for row in rows if row["task"] == "all"]
        assert row["n"] == 40
        assert row["difference"] == pytest.approx(0.25)
        assert (row["low"], row["high"]) == (interval if interval[0] is None else pytest.approx(interval))


def test_other_documents_are_refused():
    with pytest.raises(ReportError, match="different documents"):
        compare(scores("base", task=coins(10)), [scores("eft", task=coins(11))])


def test_files_are_read_as_they_were_written_and_damage_is_named(tmp_path):
    path = tmp_path / "eft-0.json"
    kept = {"method": "eft", "settings": {"weight": 2.0}, "results": {"a": {"acc,none": 0.5}}, "n": {"a": 2}}
    path.write_text(json.dumps(kept | {"subtasks": {}}))
    rows = [{"task": "a", "document": i, "key": str(i), "scores": {"acc,none": float(i)}} for i in range(2)]
    path.with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read(path).scores("a", "acc,none") == {"a/0": 0.0, "a/1": 1.0}
    path.with_suffix(".jsonl").write_text("{\n")
    with pytest.raises(ReportError, match=r"eft-0\.json: not the scores of a setting"):
        read(path)
