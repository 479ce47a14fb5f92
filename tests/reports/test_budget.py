"""Settings that keep a budget or a bound on the prompts that choose, and break it on those that are reported."""

import html
import json

import pytest
from synthetic import Method, write_run

from reports.compile import compile_report
from reports.guard import Guard
from reports.view.terminal import table as terminal

GRID = [Method("base", {}, {}, 0.0), Method("eft", {"weight": 1}, {"token": {"weight": 1}}, 0.5, kl=3)]


def over_budget(folder):
    """A run whose eft costs 30 passes a token on dev and 34 on test."""
    write_run(folder, grid=GRID, n_dev=30, n_test=30, noise=0.0, hostile=False, trace=False)
    for file in (folder / "trials").glob("*.json"):
        trial = json.loads(file.read_text())
        if trial["method"] != "eft":
            continue
        records = folder / "records" / f"{trial['id']}.jsonl"
        rows = [json.loads(line) for line in records.read_text().splitlines()]
        each = {"dev": 30, "test": 34}[trial["split"]]
        records.write_text("".join(json.dumps(row | {"forward_passes": each * row["n_tokens"]}) + "\n" for row in rows))


@pytest.mark.parametrize(("budget", "said"), [(32, True), (34, False), (29, False)])
def test_a_setting_that_breaks_its_budget_on_the_reported_prompts_is_named(tmp_path, budget, said):
    """In the terminal's table, on the page and in summary.md; not where it keeps it, nor where it was not chosen."""
    over_budget(tmp_path / "run")
    bound = Guard.of_budget(f"passes:{budget}")
    report = compile_report([tmp_path / "run"], tmp_path / "out", resamples=20, guards=[str(bound)])
    words = f"over its budget on the test prompts: passes/token <= {budget} was asked, and it is 34.0 there, 30.0 on"
    texts = [terminal(report), (tmp_path / "out" / "summary.md").read_text()]
    texts.append(html.unescape((tmp_path / "out" / "index.html").read_text()))
    for text in texts:
        assert (words in text.replace("\\", "").replace("&lt;", "<")) == said


def test_a_broken_bound_is_named_too(tmp_path):
    over_budget(tmp_path / "run")
    report = compile_report(
        [tmp_path / "run"], tmp_path / "out", resamples=20, guards=["forward_passes_per_token<32", "kl<=99"]
    )
    assert [line for line in report.answer.caveats if "asked" in line] != []
    assert "kl" not in str([line for line in report.answer.caveats if "asked" in line]).lower()
