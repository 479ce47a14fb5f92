"""The gate: what it refuses, what it finds, and how often it errs."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import stats

from reports.errors import ReportError
from reports.gate.critical import bootstrap_t, critical_values, sign_flips, upper_quantile
from reports.gate.statistics import Metric, compare, record
from reports.gate.verdict import junit, markdown


def figures(settings, n=60, **changes):
    prompts = [f"p{i}" for i in range(n)]
    same = {"task": "reviews", "judge": "gold", "seeds": [0, 1], "prompts": prompts}
    return {**same, "settings": settings, **changes}


def noise(seed, n=60, mean=0.0):
    return list(np.random.default_rng(seed).normal(mean, 1, n))


REWARD = [Metric("reward", 0.1)]


def one(run, baseline, metrics=REWARD):
    return compare(
        figures({"s": {m.name: run for m in metrics}}, len(run)),
        figures({"s": {m.name: baseline for m in metrics}}, len(run)),
        metrics,
    )


def test_an_identical_run_passes_whatever_the_noise():
    for tolerance in (0.0, 0.1):
        result = one(noise(0), noise(0), [Metric("reward", tolerance)])
        assert (result.verdict, result.exit_code, result.rows[0].loss) == ("pass", 0, 0.0)


def test_a_large_loss_is_a_regression_and_a_large_gain_is_not():
    base = np.array(noise(0))
    worse, better = one(list(base - 1 + 0.1 * np.array(noise(1))), list(base)), one(list(base + 1), list(base))
    assert (worse.verdict, worse.exit_code) == ("regression", 1)
    assert worse.rows[0].loss == pytest.approx(1, abs=0.05)
    assert better.verdict == "pass"
    lower = [Metric("reward", 0.1, "lower")]
    assert one(list(base + 1), list(base), lower).verdict == "regression"
    assert one(list(base - 1), list(base), lower).verdict == "pass"


def test_noise_too_wide_for_the_tolerance_is_inconclusive_and_says_how_many_prompts():
    base = np.array(noise(0))
    gap = np.repeat([1.0, -1.0], 30)
    gap = gap / gap.std(ddof=1)  # a loss of exactly 0 with sd 1 and no skew: it takes (1.67+0.84)²/0.1² prompts
    row = one(list(base + gap), list(base)).rows[0]
    assert (row.verdict, row.loss) == ("inconclusive", pytest.approx(0, abs=1e-12))
    z = stats.t.ppf(0.95, 59) + stats.norm.ppf(0.8)
    assert row.more_prompts == pytest.approx((z / 0.1) ** 2 - 60, abs=1.5)
    assert one(list(base - 0.1), list(base - 0.2 * (gap > 0) + 0.1)).exit_code in (0, 1, 4)


def test_the_promised_prompts_decide():
    """With the same mean and spread at the promised size, the verdict is no longer open."""
    gap = np.array(noise(1))
    gap = (gap - gap.mean()) / gap.std(ddof=1)
    n = 60 + one(list(gap), [0.0] * 60).rows[0].more_prompts
    longer = np.resize(np.r_[gap, -gap], n)
    assert one(list(longer), [0.0] * n).verdict == "pass"


def test_one_row_alone_has_the_t_tests_critical_value():
    x, n = np.random.default_rng(0).normal(0, 1, (200, 1)), np.array([200])
    assert sign_flips(x, n) == pytest.approx(stats.t.ppf(0.96, 199), abs=0.06)
    assert bootstrap_t(x, x < np.inf)[0] == pytest.approx(stats.t.ppf(0.96, 199), abs=0.15)


def test_independent_rows_are_corrected_and_equal_rows_are_not():
    x = np.random.default_rng(0).normal(0, 1, (200, 20))
    sidak = stats.t.ppf(0.96 ** (1 / 20), 199)
    assert sign_flips(x, np.full(20, 200)) == pytest.approx(sidak, abs=0.12)
    assert bootstrap_t(x, x < np.inf).mean() == pytest.approx(sidak, abs=0.12)
    copies = np.repeat(x[:, :1], 20, axis=1)
    assert sign_flips(copies, np.full(20, 200)) == pytest.approx(sign_flips(x[:, :1], np.array([200])))
    assert bootstrap_t(copies, copies < np.inf) == pytest.approx(np.full(20, bootstrap_t(x[:, :1], x[:, :1] < np.inf)))


def test_a_skewed_row_has_a_bound_of_its_own_and_leaves_the_others_theirs():
    """Of 128 prompts 3 gain: their resamples hold none of the three with probability 5%, more than 4% allows."""
    x = np.random.default_rng(0).normal(0, 1, (128, 12))
    alone = critical_values(x)
    x[:, 0] = 0.5 - 10.0 * (np.arange(128) < 3)
    beside = critical_values(x)
    assert np.isinf(beside[0])
    assert beside[1:] == pytest.approx(alone[1:], abs=0.25)


def test_losses_at_their_tolerance_are_rarely_called_regressions_however_skewed():
    """Twelve rows whose mean loss is exactly the tolerance, since one prompt in twenty gains 10: sign flips alone err
    in about 40% of such gates. 4% and three standard errors of 80 gates are 8."""
    alarms = 0
    for seed in range(80):
        gain = 10 * (np.random.default_rng(seed).random((128, 12)) < 0.05) - 0.5
        error = gain.std(0, ddof=1) / np.sqrt(128)
        alarms += (-gain.mean(0) > critical_values(-gain) * error).any()
    assert alarms <= 8


def test_a_loss_that_few_prompts_bear_widens_the_upper_bound():
    """Johnson's t: with the skew of an exponential, 2, and 100 prompts, by 2 (1 + 2 t²)/60."""
    values = stats.expon.ppf((np.arange(100) + 0.5) / 100)
    t = stats.t.ppf(0.95, 99)
    assert upper_quantile(values, 0.05) - t == pytest.approx(stats.skew(values) * (1 + 2 * t**2) / 60)
    assert upper_quantile(-values, 0.05) == pytest.approx(t)
    assert upper_quantile(np.ones(100), 0.05) == pytest.approx(t)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_so_few_prompts_prove_no_loss(n):
    """Under fair signs, n agreeing prompts have probability 2^-n, which is not below 4%."""
    assert one([-1.0] * n, [1.0] * n).verdict == "inconclusive"


def test_the_gate_as_a_whole_errs_at_most_five_times_in_a_hundred():
    """300 unchanged runs of 6 settings: 5% and three standard errors are 26."""
    alarms = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        prompt = rng.exponential(1, 40)
        sides = [{f"s{s}": {"reward": list(prompt + rng.exponential(1, 40))} for s in range(6)} for _ in range(2)]
        result = compare(figures(sides[0], 40), figures(sides[1], 40), [Metric("reward")])
        alarms += result.verdict == "regression"
    assert alarms <= 26


def test_twice_the_stated_detectable_loss_is_found():
    found = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        prompt = rng.normal(0, 2, 50)
        base, same, worse = (list(prompt + rng.exponential(1, 50)) for _ in range(3))
        stated = one(same, base).rows[0].detectable
        found += one(list(np.array(worse) - 2 * stated), base).verdict == "regression"
    assert found >= 95


def test_prompts_are_matched_by_key_and_those_that_the_baseline_misses_drop_out():
    base = figures({"s": {"reward": noise(0)}})
    order = np.random.default_rng(0).permutation(60)
    shuffled = figures({"s": {"reward": [base["settings"]["s"]["reward"][i] for i in order]}})
    shuffled["prompts"] = [f"p{i}" for i in order]
    base["settings"]["s"]["reward"][5] = None
    row = compare(shuffled, base, REWARD).rows[0]
    assert (row.verdict, row.loss, row.n) == ("pass", 0.0, 59)


@pytest.mark.parametrize("lost", [1, 30, 58, 60])
def test_a_run_that_lacks_figures_of_the_baseline_is_refused(lost):
    """Of 60 rewards the lowest are gone: what is left looks better than the baseline, and is no evidence."""
    base = figures({"s": {"reward": noise(0)}})
    least = np.argsort(noise(0))[:lost]
    kept = [None if i in least else value for i, value in enumerate(noise(0))]
    with pytest.raises(ReportError, match=rf"lacks reward of 's' for {lost} of 60 prompts \(first: p{least.min()}\)"):
        compare(figures({"s": {"reward": kept}}), base, REWARD)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("where", ["run", "baseline"])
def test_a_figure_that_is_not_finite_is_refused(value, where):
    sides = {name: figures({"s": {"reward": noise(0)}}) for name in ("run", "baseline")}
    sides[where]["settings"]["s"]["reward"][7] = value
    with pytest.raises(ReportError, match=f"in the {where} is {value} for prompt p7"):
        compare(sides["run"], sides["baseline"], REWARD)
    with pytest.raises(ReportError, match=f"is {value} for prompt p7"):
        record(sides[where])


def test_a_run_with_fewer_seeds_is_refused_and_one_with_more_is_not():
    base = figures({"s": {"reward": noise(0)}})
    with pytest.raises(ReportError, match="lacks seed 1"):
        compare(base | {"seeds": [0]}, base, REWARD)
    assert compare(base | {"seeds": [0, 1, 2]}, base, REWARD).verdict == "pass"


def test_a_record_is_json_and_compares_as_the_run_itself():
    run = figures({"s": {"reward": [*noise(0)[:-1], None]}})
    stored = json.loads(json.dumps(record(run, {"dataset": "abc"}), allow_nan=False))
    assert stored["hashes"] == {"dataset": "abc"}
    row = compare(run, stored, REWARD).rows[0]
    assert (row.verdict, row.n) == ("pass", 59)


def test_different_things_are_not_compared():
    base = figures({"s": {"reward": noise(0)}})
    for change, message in [
        ({"task": "other"}, "task .'reviews' in the baseline, 'other' in the run"),
        ({"judge": "gpt"}, "judge"),
        ({"prompts": [f"p{i + 1}" for i in range(60)]}, "1 only in the baseline, 1 only in the run; p0"),
        ({"settings": {"t": {"reward": noise(0)}}}, "lacks the baseline's setting 's'"),
        ({"settings": {"s": {"fluency": noise(0)}}}, "no 'reward' of 's' in the run"),
        ({"settings": {"s": {"reward": [1.0]}}}, "1 figures of reward of 's' in the run, but 60 prompts"),
        ({"settings": {"s": {"reward": ["good"] * 60}}}, "holds no number"),
        ({"settings": {"s": {"reward": [None] * 60}}}, "lacks reward of 's' for 60 of 60 prompts"),
        ({"prompts": ["p"] * 60}, "one twice"),
    ]:
        with pytest.raises(ReportError, match=message) as caught:
            compare(base | change, base, REWARD)
        assert "\n" not in str(caught.value)
    with pytest.raises(ReportError, match="has no 'task'"):
        compare(base, {}, REWARD)
    with pytest.raises(ReportError, match="format 9"):
        compare(base, base | {"format": 9}, REWARD)
    with pytest.raises(ReportError, match="no metrics"):
        compare(base, base, [])


@pytest.mark.parametrize("arguments", [{"tolerance": -1}, {"tolerance": float("nan")}, {"direction": "up"}])
def test_a_metric_is_checked(arguments):
    with pytest.raises(ReportError):
        Metric("reward", **arguments)


HOSTILE = "</td><script>|x|\n`[a](b)`\x1b[31m\u202e\x00]]>&"


def test_names_are_harmless_in_markdown_and_junit():
    values = noise(0)
    worse = [v - 5 for v in values]
    run, base = (figures({HOSTILE: {HOSTILE: side}, "new": {}}) for side in (worse, values))
    del base["settings"]["new"]
    result = compare(run, base, [Metric(HOSTILE)])
    text, root = markdown(result), ElementTree.fromstring(junit(result))
    row = next(line for line in text.splitlines() if "script" in line)
    assert not {"<", ">", "\x1b", "\u202e", "\x00"} & set(row)
    assert row.replace("\\|", "").count("|") == 11
    assert "new" in text
    case = root.find(".//testcase")
    assert "<script>" in case.get("classname")
    assert case.find("failure") is not None
    assert (root[0].get("tests"), root[0].get("failures")) == ("1", "1")


def test_an_open_verdict_is_skipped_in_junit_and_told_in_markdown():
    result = one(noise(1), noise(0))
    assert result.exit_code == 4
    assert ElementTree.fromstring(junit(result)).find(".//skipped") is not None
    assert f"About {result.more_prompts} more prompts" in markdown(result)
