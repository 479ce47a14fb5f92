"""Choosing on dev, against the brute force over records written by hand: direction, guards, what is no number."""

import math
import random

import pytest

from harness.config.compose import compose
from harness.config.schema import Select, validated
from harness.errors import UserError
from harness.records.report import _select as chosen_by
from harness.records.run_folder import RunFolder
from harness.sweep.selection import best_settings
from harness.trials.trial import Setting, Trial
from reports.direction import Directions
from reports.guard import Guard

HIGHER, LOWER = Directions({"score": True}), Directions({"score": False})


def written(folder, scores: dict[str, list[list[dict]]], records=None):
    """A run's folder with one trial a setting: {method: [scores of each prompt, of each setting]}."""
    run, trials = RunFolder(folder), []
    for method, settings in scores.items():
        for number, rows in enumerate(settings):
            trial = Trial(method, {"weight": number}, {"w": number}, "task", {}, "dev", {}, 0, {})
            run.scores(trial.id).append({"key": f"{i}", "scores": row} for i, row in enumerate(rows))
            run.records(trial.id).append(
                {"key": f"{i}", "response": "x" * 10, "kl": 0.0, "kl_search": None, "log_ratio": None,
                 "n_tokens": 5, "forward_passes": 5, "seconds": 1.0} | (records(method, number, i) if records else {})
                for i in range(len(rows))
            )  # fmt: skip
            trials.append((Setting(method, {"weight": number}, {}), [trial]))
    return run, trials


def chosen(found) -> dict[str, int]:
    return {setting.method: setting.settings["weight"] for setting in found}


@pytest.mark.parametrize(("directions", "first"), [(HIGHER, max), (LOWER, min)])
def test_the_best_dev_mean_is_chosen_whichever_way_is_better(tmp_path, directions, first):
    rng = random.Random(0)
    scores = {
        method: [[{"score": rng.gauss((setting + 1) % 3, 1)} for _ in range(7)] for setting in range(5)]
        for method in ("base", "eft", "ivg")
    }
    run, trials = written(tmp_path, scores)
    sums = {method: [sum(row["score"] for row in rows) for rows in settings] for method, settings in scores.items()}
    known = {method: found.index(first(found)) for method, found in sums.items()}
    assert chosen(best_settings(run, trials, "score", directions)) == known
    assert len({tuple(known.values()), (0, 0, 0)}) == 2  # taking the first setting would be wrong


def test_a_guard_keeps_out_the_settings_that_break_it_and_a_method_without_another_but_never_the_base(tmp_path):
    scores = {
        "base": [[{"score": 0.0, "fluency": 0.1}]],
        "eft": [[{"score": 1.0, "fluency": 0.9}], [{"score": 2.0, "fluency": 0.8}], [{"score": 3.0, "fluency": 0.79}]],
        "ivg": [[{"score": 9.0, "fluency": 0.5}]],
    }
    run, trials = written(tmp_path, scores)
    assert chosen(best_settings(run, trials, "score", HIGHER)) == {"base": 0, "eft": 2, "ivg": 0}
    guard = [Guard.parse("fluency>=0.8")]
    assert chosen(best_settings(run, trials, "score", HIGHER, guard)) == {"base": 0, "eft": 1}


@pytest.mark.parametrize(
    ("guard", "known"),
    [("kl<=20", 1), ("kl<20", 0), ("length<=15", 1), ("forward_passes_per_token<=2.5", 1), ("tokens_per_second>3", 0)],
)
def test_divergence_length_and_cost_can_be_bounded(tmp_path, guard, known):
    """Settings 0, 1, 2: KL 10, 20 (15 of the tokens and 5 of the search), 30; 10, 15, 20 characters; 1, 2, 3 passes."""

    def records(method, number, i):
        # without a search the token part; with one its bound and the log-ratio of what it chose
        kl = {0: (10.0, None, None), 1: (9.0, 5.0, 15.0), 2: (9.0, 2.0, 28.0)}[number]
        cost = {"forward_passes": 5 * (number + 1), "seconds": float(number + 1)}
        return {"kl": kl[0], "kl_search": kl[1], "log_ratio": kl[2], "response": "x" * (10 + 5 * number)} | cost

    run, trials = written(tmp_path, {"eft": [[{"score": float(n)}] * 3 for n in range(3)]}, records)
    assert chosen(best_settings(run, trials, "score", HIGHER, [Guard.parse(guard)])) == {"eft": known}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_decides_nothing(tmp_path, value):
    run, trials = written(tmp_path, {"eft": [[{"score": 1.0}, {"score": value}], [{"score": 2.0}, {"score": 2.0}]]})
    with pytest.raises(UserError, match=r"select.metric=score: .* prompt 1 in .*scores/eft-\w+\.jsonl \(task task\)"):
        best_settings(run, trials, "score", HIGHER)


def test_an_unknown_figure_of_a_guard_is_named_with_the_nearest(tmp_path):
    run, trials = written(tmp_path, {"eft": [[{"score": 1.0, "fluency": 1.0}]]})
    with pytest.raises(UserError, match=r"select.guard=fluncy>=0.8: .* did you mean 'fluency'"):
        best_settings(run, trials, "score", HIGHER, [Guard.parse("fluncy>=0.8")])


def test_guards_are_written_without_inner_quotes():
    config = compose("sweep", ["select.guard=[fluency>=0.8, kl<=20]"]).config
    assert validated(Select, config["select"]).guard == ["fluency>=0.8", "kl<=20"]
    assert validated(Select, compose("sweep", ["select.guard=kl<=20"]).config["select"]).guard == ["kl<=20"]
    assert compose("sweep", ["select.guard=['kl<=20']"]).config["select"]["guard"] == ["kl<=20"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"guard": ["fluency"]}, "guard='fluency': 'fluency' is no bound: write NAME>=NUMBER"),
        ({"guard": ["fluency>=high"]}, "is no bound"),
        ({"guard": ["kl<=nan"]}, "is no bound"),
        ({"metric": "length"}, "metric='length': neither a higher nor a lower one is better"),
    ],
)
def test_a_bound_that_is_none_is_one_line(values, said):
    with pytest.raises(UserError) as error:
        validated(Select, values)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_budget_compares_methods_at_equal_mean_passes(tmp_path):
    """Mean passes per token of settings 0, 1, 2: 8, 24 and 40 of "halving", whose cost varies; 16, 32, 48 of "best"."""

    def records(method, number, i):
        mean = {"halving": 8, "best": 16, "base": 1}[method] + 16 * number
        return {"forward_passes": 5 * (mean + (7 if i % 2 else -7) * (method == "halving"))}

    scores = {name: [[{"score": float(n)}] * 4 for n in range(3)] for name in ("base", "halving", "best")}
    run, trials = written(tmp_path, scores, records)
    bounds = [Guard.of_budget("passes:32")]
    assert chosen(best_settings(run, trials, "score", HIGHER, bounds)) == {"base": 2, "halving": 1, "best": 1}
    bounds = validated(Select, {"budget": "passes:10", "guard": ["length<=99"]}).bounds
    assert [str(bound) for bound in bounds] == ["length<=99", "forward_passes_per_token<=10"]
    assert chosen(best_settings(run, trials, "score", HIGHER, bounds)) == {"base": 2, "halving": 0}


@pytest.mark.parametrize("budget", ["32", "passes:", "passes:0", "passes:-1", "seconds:3", "passes:32<=4"])
def test_a_budget_that_is_none_is_one_line(budget):
    with pytest.raises(UserError, match=r"is no budget: write passes:NUMBER") as error:
        validated(Select, {"budget": budget})
    assert "\n" not in str(error.value)


def test_weighted_answers_choose_by_self_normalised_means(tmp_path):
    """Two seeds, weights 1 and 3: 4·¼ + 0·¾ = 1 against a plain 1.5 of each; without weights 2 would win."""
    run, trials = RunFolder(tmp_path), []
    for number, (first, second) in enumerate([(4.0, 0.0), (1.5, 1.5)]):
        both = []
        for seed, score in enumerate((first, second)):
            trial = Trial("smc", {"weight": number}, {"w": number}, "task", {}, "dev", {}, seed, {})
            run.scores(trial.id).append([{"key": "0", "scores": {"score": score}}])
            run.records(trial.id).append([{"key": "0", "response": "", "log_weight": math.log(3) * seed}])
            both.append(trial)
        trials.append((Setting("smc", {"weight": number}, {}), both))
    assert chosen(best_settings(run, trials, "score", HIGHER)) == {"smc": 1}


def test_a_report_that_is_compiled_again_keeps_the_budget(tmp_path):
    text = "select: {metric: fluency, guard: [kl<=20], budget: 'passes:32'}\n"
    (tmp_path / "config.yaml").write_text(text)
    assert chosen_by(tmp_path) == ("fluency", ["kl<=20", "forward_passes_per_token<=32"])
    (tmp_path / "config.yaml").write_text("select: {metric: fluency, guard: []}\n")
    assert chosen_by(tmp_path) == ("fluency", [])
