"""The doctor's time: what it measures of each method, and the sum over the trials, by hand."""

import itertools

import pytest

from harness.config.compose import compose
from harness.config.schema import Sweep, validated
from harness.doctor import pace
from harness.trials.grid import settings_of
from harness.trials.requirements import models, seconds


def swept(*overrides):
    composed = compose("sweep", ["preset=none", "task=reviews", *overrides])
    sweep = validated(Sweep, composed.config)
    return sweep, settings_of(sweep, composed.guider_overrides)


def test_the_estimate_is_the_sum_over_the_trials_of_both_stages(tiny_models):
    local = [f"model.{role}={tiny_models[role]}" for role in ("base", "tuned", "untuned")]
    sweep, settings = swept(
        "model=hf", *local, "guider=[eft,best_of_n_implicit]", "grid.weight=[0.5,1,2]", "grid.n=[2,4]",
        "seeds=[0,1]", "task.n_dev=10", "task.n_test=30", "select.metric=gold_reward",
    )  # fmt: skip
    assert [(one.method, one.rows) for one in settings] == [
        ("base", 1), *[("eft", 1)] * 3, ("best_of_n_implicit", 2), ("best_of_n_implicit", 4)
    ]  # fmt: skip
    measured = {("base", 1): 1.0, ("eft", 1): 2.0, ("best_of_n_implicit", 2): 3.0, ("best_of_n_implicit", 4): 7.0}
    needs = models(sweep, settings)
    # dev: every setting on 10 prompts with one seed; test: one setting of each method on 30 prompts with two
    dev, test = 10 * (1 + 3 * 2 + 3 + 7), 2 * 30 * (1 + 2 + (3 + 7) / 2)
    assert len(sweep.select.seeds) == 1
    assert seconds(sweep, settings, needs, 30, measured) == dev + test
    every = sweep.model_copy(update={"select": sweep.select.model_copy(update={"metric": None})})
    assert seconds(every, settings, needs, 30, measured) == 2 * 30 * (1 + 3 * 2 + 3 + 7)


def test_the_pace_is_the_seconds_of_a_batch_to_each_of_its_responses(tiny_models, monkeypatch):
    """A machine that takes 0.01 s for a token of every row, five times that when disturbed, and 100 s at first."""
    sweep, settings = swept(
        "model=hf", f"model.base={tiny_models['base']}", f"model.value={tiny_models['value']}",
        "guider=best_of_n_explicit", "grid.n=[2,16]", "block=1000",
    )  # fmt: skip
    clock, rows, slowness, current = [0.0], iter([1, 2, 16]), itertools.cycle([None, 5, 1]), {}

    def generate(guider, prompts, sampling):
        slow = next(slowness)
        if slow is None:
            current["rows"], clock[0] = next(rows), clock[0] + 100
        else:
            clock[0] += slow * 0.01 * sampling.max_new_tokens * current["rows"] * len(prompts)
        return iter(())

    monkeypatch.setattr(pace, "generate", generate)
    monkeypatch.setattr(pace.time, "perf_counter", lambda: clock[0])
    found = pace.measured(sweep, settings, models(sweep, settings), tokens=50)
    method = "best_of_n_explicit"
    # 50 tokens of 1, 2 and 16 rows; the first 100 s, in which weights are read, are none of it
    assert found == {
        ("base", 1): pytest.approx(0.5), (method, 2): pytest.approx(1.0), (method, 16): pytest.approx(8.0)
    }  # fmt: skip
    assert pace.measured(sweep, settings, models(*swept("model=hf", "model.base=gpt2")), tokens=50) is None
