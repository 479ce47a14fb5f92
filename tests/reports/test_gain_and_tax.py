"""Gain and tax in one table: the gain of the records, the tax as it was measured, joined by setting."""

import json

import pytest
from synthetic import Method, write_run

from reports.compile import compile_report
from reports.errors import ReportError
from reports.gain_and_tax import read_tax
from reports.tax import TaxScores, compare

GRID = [
    Method("base", {}, {}, 0.0),
    Method("eft", {"weight": 1.0}, {"token": {"weight": 1.0}}, 2.0),
    Method("eft", {"weight": 2.0}, {"token": {"weight": 2.0}}, 3.0),
]


def scores(method, settings, right):
    """Right or wrong on every document of a task "<b>arc"."""
    documents = {str(place): float(one) for place, one in enumerate(right)}
    mean = sum(right) / len(right)
    return TaxScores(
        method, settings, {"<b>arc": {"acc,none": mean}}, {"<b>arc": 40}, {}, {("<b>arc", "acc,none"): documents}
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run without noise, and the tax of its base and one of its settings: 40 documents, 24 right and 12 right."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "run", grid=GRID, n_dev=10, n_test=30, noise=0.0, hostile=False, trace=False)
    base, guided = [1] * 24 + [0] * 16, [1] * 12 + [0] * 28
    rows = compare(scores("base", {}, base), [scores("eft", {"weight": 2}, guided)], resamples=200)
    (folder / "tax" / "report").mkdir(parents=True)
    (folder / "tax" / "report" / "tax.json").write_text(json.dumps(rows))
    return folder


def test_the_gain_stands_beside_the_tax_of_the_same_setting(runs):
    found = compile_report([runs / "run"], runs / "out", resamples=50, tax=runs / "tax")
    page, text = (runs / "out" / "index.html").read_text(), (runs / "out" / "summary.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("| EFT · weight 2 |") and "−0.300" in line]
    rewards = {row.setting.method: row.figures["gold_reward"].mean for row in found.rows if row.split == "test"}
    assert line.split("|")[2].strip().startswith(f"{rewards['eft'] - rewards['base']:+.2f}")
    assert "−0.300 \\[−" in line  # 12 of 40 against 24 of 40
    assert '<section id="tax">' in page
    assert '<span class="tag">lower</span>' in page
    assert "<b>arc" not in page
    assert "&lt;b&gt;arc: acc" in page
    assert '<section id="tax">' not in _page_without(runs)


def _page_without(runs):
    compile_report([runs / "run"], runs / "without", resamples=20)
    return (runs / "without" / "index.html").read_text()


def test_a_tax_of_other_settings_or_of_no_sweep_is_refused_in_one_line(runs, tmp_path):
    with pytest.raises(ReportError, match=r"^tax=.*no report/tax.json; give the folder of a sweep with task.names"):
        read_tax(tmp_path)
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "tax.json").write_text('[{"task": 1}]')
    with pytest.raises(ReportError, match=r"tax.json: no table of an alignment tax \(a row without metric, method"):
        read_tax(tmp_path)
    other = [row | {"method": "ivg"} for row in read_tax(runs / "tax")]
    (tmp_path / "report" / "tax.json").write_text(json.dumps(other))
    with pytest.raises(ReportError, match=r"^tax: it was measured of settings that the run has not \(ivg\)"):
        compile_report([runs / "run"], tmp_path / "out", resamples=20, tax=tmp_path)
