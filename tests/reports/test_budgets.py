"""Budgets: the best of each method under one, and settings that break theirs on the reported prompts."""

import dataclasses
import html
import json

import pytest
from synthetic import embedded_grid, write_run
from test_headline import BASE, answered, eft

from reports.compile import compile_report
from reports.guard import Guard
from reports.view.terminal import table as terminal


def test_a_budget_of_passes_holds_the_best_of_each_method_that_it_pays_for(tmp_path):
    """Against an enumeration of the records."""
    table, found = answered(tmp_path / "run", embedded_grid(), noise=1.0)
    dev = table.run.records[table.run.records["split"] == "dev"]
    spent, reward, method = {}, {}, {}
    for setting, part in dev.groupby("setting"):
        spent[setting] = part["forward_passes"].sum() / part["n_tokens"].sum()
        reward[setting] = part["gold_reward"].mean()
        method[setting] = table.run.settings[setting].group
    budgets = found.equal_passes
    assert budgets.split == "dev"
    assert budgets.passes == sorted(budgets.passes)
    chosen = {row.setting.id for row in found.chosen if row.setting.method != "base"}
    assert budgets.passes[-1] == pytest.approx(max(spent[setting] for setting in chosen))
    for place, budget in enumerate(budgets.passes):
        best = {}
        for setting in spent:
            if spent[setting] <= budget + 1e-9:
                held = best.setdefault(method[setting], setting)
                best[method[setting]] = max(held, setting, key=reward.get)
        column = {name: cells[place] for name, cells in budgets.lines}
        assert {name: cell.row.setting.id for name, cell in column.items() if cell} == best
        (first,) = [name for name, cell in column.items() if cell and cell.mark == "best"]
        assert first == max(best, key=lambda name: reward[best[name]])
    assert any(cell is None for _, cells in budgets.lines for cell in cells)


def over_budget(folder, grid):
    """A run whose eft costs 30 passes a token on dev and 34 on test."""
    write_run(folder, grid=grid, n_dev=30, n_test=30, noise=0.0, hostile=False, trace=False)
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
    over_budget(tmp_path / "run", [BASE, eft(1, 0.5)])
    bound = Guard.of_budget(f"passes:{budget}")
    report = compile_report([tmp_path / "run"], tmp_path / "out", resamples=20, guards=[str(bound)])
    words = f"over its budget on the test prompts: passes/token <= {budget} was asked, and it is 34.0 there, 30.0 on"
    texts = [terminal(report), (tmp_path / "out" / "summary.md").read_text()]
    texts.append(html.unescape((tmp_path / "out" / "index.html").read_text()))
    for text in texts:
        assert (words in text.replace("\\", "").replace("&lt;", "<")) == said


def test_a_broken_bound_is_named_too(tmp_path):
    over_budget(tmp_path / "run", [BASE, eft(1, 0.5)])
    report = compile_report(
        [tmp_path / "run"], tmp_path / "out", resamples=20, guards=["forward_passes_per_token<32", "kl<=99"]
    )
    assert [line for line in report.answer.caveats if "asked" in line] != []
    assert "kl" not in str([line for line in report.answer.caveats if "asked" in line]).lower()


def test_of_many_budgets_six_are_shown_from_the_least_to_the_largest(tmp_path):
    grid = [BASE, *(dataclasses.replace(eft(1, 1.0), method=f"m{n}", rows=n * n) for n in range(1, 20))]
    _, found = answered(tmp_path / "run", grid, noise=1.0)
    spent = sorted({row.figures["forward_passes_per_token"].mean for row in found.chosen})
    budgets = found.equal_passes.passes
    assert len(budgets) == 6
    assert budgets == sorted(set(budgets))
    assert budgets[-1] == pytest.approx(spent[-1])
    assert budgets[0] <= spent[1] * 1.1
