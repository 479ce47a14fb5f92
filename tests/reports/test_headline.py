"""The first sentences, on runs whose truth is known: directions, the base in the ranking, guards, cost, edges."""

import dataclasses
import json
import math
import shutil

import pytest
from synthetic import Method, write_run

from reports.answer import answer
from reports.compile import compile_report
from reports.errors import ReportError
from reports.guard import Guard
from reports.run import load_run
from reports.table import build
from reports.view.terminal import table as terminal

BASE = Method("base", {}, {}, 0.0)


def eft(weight: float, gain: float, **more) -> Method:
    return Method("eft", {"weight": weight}, {"token": {"weight": weight}}, gain, kl=3 * weight, **more)


def answered(folder, grid, metric="gold_reward", guards=(), lower=False, **more):
    """The answer of a run without noise, unless some is asked for; `lower`: less reward is better."""
    write_run(folder, grid=grid, **{"n_dev": 30, "n_test": 30, "noise": 0.0, "hostile": False, "trace": False} | more)
    shutil.rmtree(folder / "judgements")
    if lower:  # write_run selects the highest truth
        for file in (folder / "trials").iterdir():
            file.write_text(json.dumps(json.loads(file.read_text()) | {"selected": False}))
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"higher_is_better": {"gold_reward": not lower}}))
    table = build(load_run(folder), resamples=100)
    return table, answer(table, metric, [Guard.parse(text) for text in guards])


def test_where_lower_is_better_the_lowest_is_best_and_it_is_told_so(tmp_path):
    grid = [BASE, eft(1, -0.5), eft(2, 0.75), Method("cbs", {}, {}, -2.0), Method("ivg", {}, {}, -0.25)]
    _, found = answered(tmp_path / "run", grid, lower=True, every_setting_on_test=True)
    assert found.best.setting.method == "cbs"
    assert [c.other.setting.method for c in found.comparisons] == ["base", "eft", "ivg"]
    assert "has the lowest gold reward of 5 settings" in found.sentence
    assert "2.00 [2.00, 2.00] lower than the base’s" in found.sentence
    assert found.leads
    assert found.heading("gold_reward").endswith("↓")


def test_arrows_say_which_way_is_better(tmp_path):
    _, found = answered(tmp_path / "run", [BASE, eft(1, 1.0)])
    arrows = {name: found.heading(name)[-1] for name in ("gold_reward", "fluency", "kl", "tokens_per_second")}
    assert arrows == {"gold_reward": "↑", "fluency": "↑", "kl": "↓", "tokens_per_second": "↑"}
    assert found.heading("forward_passes_per_token")[-1] == "↓"
    assert not {"↑", "↓"} & set(found.heading("length"))


@pytest.mark.parametrize("lower", [False, True])
def test_the_base_is_in_the_ranking(tmp_path, lower):
    worse = 1 if lower else -1
    grid = [BASE, eft(1, 0.5 * worse), eft(2, 0.75 * worse)]
    _, found = answered(tmp_path / "run", grid, lower=lower, every_setting_on_test=True)
    assert found.sentence.startswith("No guided setting beats the base in gold reward")
    assert f"0.50 [0.50, 0.50] {'higher' if lower else 'lower'} than the base’s" in found.sentence
    assert not found.leads
    page = (tmp_path / "out/index.html", compile_report([tmp_path / "run"], tmp_path / "out", resamples=20))[0]
    assert ">best guided</span>" in page.read_text()
    assert ">best</span>" not in page.read_text().partition("Methods at equal forward passes")[0]


def test_what_the_prompts_do_not_tell_apart_is_tied(tmp_path):
    grid = [BASE, eft(1, 0.0), Method("ivg", {}, {}, 3.0), Method("cbs", {}, {}, 3.0)]
    _, found = answered(tmp_path / "a", grid[:2], noise=1.0, seeds=(0,))
    assert "tied with the base’s (not told apart" in found.sentence
    assert found.sentence.startswith("No guided setting beats the base")
    _, found = answered(tmp_path / "b", grid, noise=1.0)
    assert "higher than the base’s" in found.sentence
    assert "tied with that of the runner-up" in found.sentence


def test_a_method_that_beats_the_base_though_dev_chose_another_is_named(tmp_path):
    """On dev cbs is far ahead; on test it falls below the base, and ivg does not."""
    _, _ = answered(tmp_path / "run", [BASE, Method("cbs", {}, {}, 2.0), Method("ivg", {}, {}, 1.0)])
    for file in (tmp_path / "run/trials").glob("*.json"):
        trial = json.loads(file.read_text())
        if trial["method"] == "cbs" and trial["split"] == "test":
            path = tmp_path / "run/scores" / f"{trial['id']}.jsonl"
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            for row in rows:
                row["scores"]["gold_reward"] -= 3
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = answer(build(load_run(tmp_path / "run"), resamples=50))
    assert found.best.setting.method == "cbs"
    assert (
        "but does not beat the base: on the test prompts its gold reward is 1.00 [1.00, 1.00] lower" in found.sentence
    )
    assert "IVG, 1.00 [1.00, 1.00] higher than the base’s" in found.sentence
    assert not found.leads


@pytest.mark.parametrize(
    ("dev", "share", "first"),
    [
        (0.75, 0.75, "EFT · weight 1 has the highest win rate of 2 settings"),
        (0.25, 0.75, "EFT · weight 1 has the highest win rate of the guided settings on the dev prompts"),
        (0.75, 0.25, "No guided setting beats the base"),
    ],
)
def test_the_base_s_win_rate_is_an_even_one(tmp_path, dev, share, first):
    """A method that wins a share of its dev and of its test prompts, against a base that nobody judges."""
    write_run(tmp_path / "run", grid=[BASE, eft(1, 1.0)], n_dev=20, n_test=40)
    for file in (tmp_path / "run/judgements").iterdir():
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        won = (dev if len(rows) == 20 else share) * len(rows)
        changed = [row | {"preference": 2.0 if place < won else 1.0} for place, row in enumerate(rows)]
        file.write_text("".join(json.dumps(row) + "\n" for row in changed))
    found = answer(build(load_run(tmp_path / "run"), resamples=100), "win_rate")
    (comparison,) = found.comparisons
    assert comparison.difference.mean == pytest.approx(100 * share - 50)
    assert found.leads == (share > 0.5)
    assert found.sentence.startswith(first)


def test_no_finite_figure_has_no_winner(tmp_path):
    answered(tmp_path / "run", [BASE, eft(1, 1.0), Method("ivg", {}, {}, 3.0)])
    for file in (tmp_path / "run/scores").iterdir():
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps(r | {"scores": {"gold_reward": math.nan}}) + "\n" for r in rows))
    found = answer(build(load_run(tmp_path / "run"), resamples=20))
    assert found.best is None
    assert found.sentence.startswith("No guided setting has a finite gold reward")
    assert "*" not in terminal_text(tmp_path)


def terminal_text(folder) -> str:
    return terminal(compile_report([folder / "run"], folder / "out", resamples=20))


def test_fluency_is_not_highest_where_an_unreported_setting_or_the_base_has_more(tmp_path):
    grid = [BASE, eft(1, 0.1, fluency=0.94), eft(2, 1.0, fluency=0.4), Method("ivg", {}, {}, 0.5, fluency=0.6)]
    _, found = answered(tmp_path / "run", grid, metric="fluency")
    assert found.best.setting.method == "ivg"  # weight 1 did not run on test
    assert found.sentence.startswith("No guided setting beats the base in fluency")
    _, found = answered(tmp_path / "other", [dataclasses.replace(BASE, fluency=0.1), *grid[1:]], metric="fluency")
    assert "has the highest fluency of the settings that ran on the test prompts" in found.sentence


def test_a_cost_is_not_gained_and_any_column_of_the_report_can_be_compared(tmp_path):
    table, found = answered(tmp_path / "run", [BASE, eft(1, 1.0), eft(2, 2.0)], metric="kl")
    assert found.sentence.startswith("No guided setting beats the base in KL to the base")
    assert "gain" not in found.sentence
    records = table.run.records[table.run.records["split"] == "test"]
    for metric in ("tokens_per_second", "forward_passes_per_token"):
        again = answer(table, metric)
        (comparison,) = again.comparisons
        rates = []
        for row in (again.best, comparison.other):
            part = records[records["setting"] == row.setting.id]
            top, bottom = ("n_tokens", "seconds") if metric == "tokens_per_second" else ("forward_passes", "n_tokens")
            rates.append(part[top].sum() / part[bottom].sum())
        assert comparison.difference.mean == pytest.approx(rates[0] - rates[1])
    with pytest.raises(ReportError, match="metric=length: neither way of length is better"):
        answer(table, "length")


def test_a_choice_at_the_end_of_an_axis_that_still_rises_says_so(tmp_path):
    rising = [eft(w, w) for w in (0.5, 1, 2, 4)]
    _, found = answered(tmp_path / "a", [BASE, *rising])
    assert "At the edge of the grid (weight 4, the largest tried), still rising on the dev prompts" in found.sentence
    _, found = answered(tmp_path / "b", [BASE, *[eft(w, w) for w in (0.5, 1, 2)], eft(4, 1.5)])
    assert found.best.setting.weight == 2
    assert "edge" not in found.sentence
    # of the end and its neighbour the prompts tell nothing: not rising
    _, found = answered(tmp_path / "c", [BASE, eft(1, 2.0), eft(2, 2.0)], noise=1.0)
    assert "edge" not in found.sentence
    plateau = [eft(0.5, 0.0), eft(1, 1.0), eft(2, 3.0), eft(4, 3.01)]  # the neighbour counts, not a value further off
    _, found = answered(tmp_path / "e", [BASE, *plateau], noise=1.0)
    assert found.best.setting.weight == 4
    assert "edge" not in found.sentence
    # a runner-up at the end of its axis is a caveat
    _, found = answered(tmp_path / "d", [BASE, *rising, Method("ivg", {}, {}, 9.0)])
    assert any("eft" in c.lower() and "at the edge of the grid" in c for c in found.caveats)


def test_text_that_is_half_as_fluent_as_the_base_is_called_unreadable(tmp_path):
    broken, fine = eft(4, 3.0, fluency=0.24), Method("ivg", {}, {}, 2.0, fluency=0.8)
    _, found = answered(tmp_path / "a", [BASE, broken, fine])
    assert "Unreadable: fluency fell from 0.9" in found.sentence
    assert "to 0.2" in found.sentence
    _, found = answered(tmp_path / "b", [BASE, dataclasses.replace(broken, gain=1.0), fine])
    assert "nreadable" not in found.sentence
    assert any("unreadable: fluency fell from 0.9" in caveat for caveat in found.caveats)


def test_a_guard_decides_the_choice_and_names_the_methods_that_it_leaves_out(tmp_path):
    grid = [BASE, eft(1, 1.0), eft(4, 3.0, fluency=0.5), Method("ivg", {}, {}, 2.0, fluency=0.4)]
    _, found = answered(tmp_path / "run", grid, guards=["fluency>=0.7"], every_setting_on_test=True)
    assert (found.best.setting.method, found.best.setting.weight) == ("eft", 1)
    assert "has the highest gold reward of the settings that satisfy fluency>=0.7" in found.sentence
    assert any("Left out" in caveat and "IVG" in caveat for caveat in found.caveats)
    _, found = answered(tmp_path / "after", grid, guards=["fluency>=0.7"])  # weight 1 did not run on test
    assert any("did not run on the test prompts: EFT" in caveat for caveat in found.caveats)
    _, found = answered(tmp_path / "none", grid, guards=["kl<0"], every_setting_on_test=True)
    assert found.sentence == "No guided setting satisfies kl<0 on the dev prompts."
    with pytest.raises(ReportError, match="guard fluncy>=1: the run has no such figure; it has gold_reward, fluency"):
        answer(build(load_run(tmp_path / "run"), resamples=20), guards=[Guard.parse("fluncy>=1")])


def test_the_cost_is_in_passes_speed_and_fluency(tmp_path):
    table, found = answered(tmp_path / "run", [BASE, eft(1, 1.0, fluency=0.7)])
    rate = {}
    for method, part in table.run.records[table.run.records["split"] == "test"].groupby("method"):
        rate[method] = part["n_tokens"].sum() / part["seconds"].sum()
    assert f"decodes at {100 * rate['eft'] / rate['base']:.0f}% of its speed" in found.cost
    assert "costs 1.0 forward passes per emitted token against the base’s 1.0" in found.cost
    assert "its fluency falls from 0.9" in found.cost


def test_the_top_of_the_page_says_who_judged_which_base_and_when(tmp_path):
    write_run(tmp_path / "run", grid=[BASE, eft(1, 1.0)], n_dev=6, n_test=6)
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    models = {"org/base-7b": "0123456789abcdef", "org/tuned": "fedcba"}
    judge = {"name": "openai", "server": "api.example.com"}
    more = {"date": "2024-02-29", "models": models, "judge": judge}
    (tmp_path / "run/manifest.json").write_text(json.dumps(manifest | more))
    texts = {}
    for name in ("weighted_alpaca_eval_gpt4_turbo:gpt-4-1106-preview", "reward:gold_reward", "reward:-gold_reward"):
        for file in (tmp_path / "run/judgements").iterdir():
            rows = [json.loads(line) | {"judge": name} for line in file.read_text().splitlines()]
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        report = compile_report([tmp_path / "run"], tmp_path / "out", resamples=20)
        top = (tmp_path / "out/index.html").read_text().partition("<h2>")[0]
        assert "org/base-7b" in top
        assert "2024-02-29" in top
        texts[name] = (dict(report.answer.about)["win rates judged by"], report.answer.heading("win_rate"))
        assert texts[name][0] in top
        assert texts[name][0] in terminal(report)
        assert texts[name][0].partition(" (")[0].replace("_", "\\_") in (tmp_path / "out/summary.md").read_text()
    language, reward, less = texts.values()
    assert language[0] == "gpt-4-1106-preview, asked as weighted_alpaca_eval_gpt4_turbo, via api.example.com"
    assert language[1].endswith("by gpt-4-1106-preview")
    assert reward[0].startswith("sigmoid of gold_reward")
    assert "not a language model" in reward[0]
    assert reward[1].endswith("by sigmoid of gold_reward")
    assert less[1].endswith("by sigmoid of −gold_reward")
