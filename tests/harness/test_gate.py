"""The verb ``gate`` on a real run of tiny models: verdicts, what it refuses, and what it writes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.cli import main
from harness.gate.figures import run_figures
from harness.records.lines import Lines
from harness.records.rows import as_text
from reports.run import load_run

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = 24
ONE = ["~metrics.fluency", "~metrics.kl"]


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory) -> Path:
    """A run without selection and the baseline recorded of it, ``baseline.json`` beside it."""
    run = tmp_path_factory.mktemp("gate") / "run"
    overrides = ["select.metric=null", "guider=[eft]", "grid.weight=2", f"task.n_test={PROMPTS}", f"run_dir={run}"]
    assert main(["sweep", *tiny, *overrides]) == 0
    assert main(["gate", "--record", f"run={run}", f"baseline={run.parent / 'baseline.json'}"]) == 0
    return run


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A copy of the run that may be changed."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def baseline(finished) -> Path:
    return finished.parent / "baseline.json"


def gate(run: Path, baseline: Path, *more: str) -> int:
    return main(["gate", f"run={run}", f"baseline={baseline}", *more])


def rewrite(run: Path, kind: str, change) -> None:
    """Apply ``change(row, number)`` to every row of eft's files of a kind; None drops the row."""
    for path in (run / kind).glob("eft-*.jsonl"):
        rows = [change(row, number) for number, row in enumerate(Lines(path))]
        path.write_text(as_text(path, [row for row in rows if row is not None]))


def lose(run: Path, loss) -> None:
    """Take ``loss(number)`` from eft's reward of the prompt of each number."""

    def change(row, number):
        row["scores"]["gold_reward"] -= loss(number)
        return row

    rewrite(run, "scores", change)


def test_the_run_that_was_recorded_passes_even_without_tolerance(run, baseline, capsys):
    tight = [f"metrics.{name}.tolerance=0" for name in ("gold_reward", "fluency", "kl")]
    assert gate(run, baseline, *tight) == 0
    assert "The models are the baseline's" in capsys.readouterr().out


def test_a_loss_of_every_prompt_beyond_the_tolerance_is_a_regression_and_one_within_is_not(run, baseline, capsys):
    lose(run, lambda number: 0.5)
    assert gate(run, baseline, "metrics.gold_reward.tolerance=0.6") == 0
    assert gate(run, baseline, "metrics.gold_reward.tolerance=0.4") == 1
    row = next(line for line in capsys.readouterr().out.splitlines() if "❌" in line and "eft" in line)
    assert "| 0.5 |" in row
    cases = ElementTree.parse(run / "gate.xml").getroot().iter("testcase")
    assert [case.get("name") for case in cases if case.find("failure") is not None] == ["gold_reward"]


def test_noise_wider_than_the_tolerance_is_inconclusive_and_says_how_many_prompts(run, baseline, capsys):
    # losses of +1 and -1 in turn: their mean is 0, and (1.71 + 0.84)² / 0.2² prompts tell 0 from 0.2
    lose(run, lambda number: (-1) ** number)
    assert gate(run, baseline, "metrics.gold_reward.tolerance=0.2", *ONE) == 4
    told = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("About"))
    needed = (1.714 + 0.842) ** 2 / 0.2**2 * PROMPTS / (PROMPTS - 1)
    assert int(told.split()[1]) == pytest.approx(needed - PROMPTS, abs=2)


@pytest.mark.parametrize(("change", "code"), [(+3.0, 1), (-3.0, 1), (+1.0, 0), (-1.0, 0)])
def test_what_must_stay_the_same_may_move_neither_way(run, baseline, change, code):
    rewrite(run, "records", lambda row, number: {**row, "kl": row["kl"] + change})
    assert gate(run, baseline, "metrics.kl.tolerance=2") == code


def test_a_win_rate_is_held_in_percent_and_the_base_is_at_fifty(finished, baseline, run, capsys):
    settings = json.loads(baseline.read_text())["settings"]
    assert settings["base"]["win_rate"] == [50.0] * PROMPTS
    rewrite(run, "judgements", lambda row, number: {**row, "preference": 1.0})
    more = "+metrics.win_rate={tolerance:1,direction:higher}"
    assert gate(run, baseline, more) == 1
    assert "win\\_rate" in capsys.readouterr().out


def test_a_prompts_figure_is_the_mean_over_its_seeds(finished, baseline):
    reward: dict[str, list[float]] = {}
    for path in (finished / "scores").glob("eft-*.jsonl"):
        for row in Lines(path):
            reward.setdefault(row["key"], []).append(row["scores"]["gold_reward"])
    stored = json.loads(baseline.read_text())
    assert {len(values) for values in reward.values()} == {2}
    found = dict(zip(stored["prompts"], stored["settings"]["eft weight=2"]["gold_reward"], strict=True))
    assert found == pytest.approx({key: sum(values) / 2 for key, values in reward.items()})


def test_the_names_of_settings_do_not_depend_on_the_weights_of_the_models(finished):
    figures, revisions = run_figures(load_run(finished))
    assert set(figures["settings"]) == {"base", "eft weight=2"}
    assert set(revisions) == {"base.base", "eft.base", "eft.token.tuned", "eft.token.untuned"}


def test_a_baseline_holds_no_texts_and_no_times(finished, baseline):
    text = baseline.read_text()
    for row in Lines(next((finished / "records").glob("eft-*.jsonl"))):
        assert row["prompt"] not in text
        assert not row["response"].strip() or json.dumps(row["response"])[1:-1] not in text
    assert "seconds" not in text


def test_different_prompts_judges_and_tasks_are_refused_by_name(run, baseline, tmp_path, capsys):
    stored = json.loads(baseline.read_text())
    for change, said in [
        ({"judge": "someone"}, "different judge ('someone' in the baseline, 'reward:gold_reward' in the run)"),
        ({"task": "chess"}, "different task ('chess' in the baseline"),
        ({"prompts": ["0" * 16, *stored["prompts"][1:]]}, "1 only in the baseline, 1 only in the run"),
    ]:
        other = tmp_path / "other.json"
        other.write_text(json.dumps(stored | change))
        assert gate(run, other) == 2
        assert said in capsys.readouterr().err


def test_bad_input_is_one_line_and_exit_code_2(run, baseline, tmp_path, capsys):
    damaged = tmp_path / "damaged.json"
    damaged.write_text("{")
    shaped = tmp_path / "shaped.json"
    shaped.write_text(json.dumps(json.loads(baseline.read_text()) | {"settings": {"base": [1]}}))
    older = tmp_path / "older.json"
    older.write_text(json.dumps(json.loads(baseline.read_text()) | {"format": 0}))
    for arguments, said in [
        ((run, tmp_path / "none.json"), "gate --record"),
        ((run, damaged), "not a JSON object"),
        ((run, shaped), "settings.base"),
        ((run, older), "format"),
        ((tmp_path / "norun", baseline), "no such run"),
        ((run, baseline, "split=dev"), "it has all"),
        ((run, baseline, "metrics.gold_reward.tolerance=-1"), "metrics.gold_reward.tolerance"),
        ((run, baseline, "metrics.gold_reward.direction=up"), "metrics.gold_reward.direction"),
        ((run, baseline, "metrics.gold_rewrd.tolerance=1"), "did you mean 'metrics.gold_reward.tolerance'?"),
        ((run, baseline, "+metrics.win_rte={tolerance:1}"), "did you mean 'win_rate'?"),
        ((run, baseline, f"junit={baseline}/gate.xml"), "cannot be written"),
    ]:
        assert gate(*arguments) == 2, said
        error = capsys.readouterr().err.strip()
        assert said in error
        assert error.count("\n") == 0


def test_an_unfinished_run_is_not_judged(run, baseline, capsys):
    rewrite(run, "records", lambda row, number: row if number else None)
    assert gate(run, baseline) == 2
    assert "1 record of eft-" in capsys.readouterr().err


def test_a_missing_judgement_is_refused_where_its_win_rate_is_held(run, baseline, tmp_path, capsys):
    held = "+metrics.win_rate={tolerance:60,direction:higher}"
    rewrite(run, "judgements", lambda row, number: {**row, "preference": row["preference"] if number else None})
    assert gate(run, baseline) == 0
    assert gate(run, baseline, held) == 2
    assert f"lacks win_rate of 'eft weight=2' for 1 of {PROMPTS} prompts" in capsys.readouterr().err
    assert main(["gate", "--record", f"run={run}", f"baseline={tmp_path / 'missed.json'}"]) == 0
    capsys.readouterr()
    assert gate(run, tmp_path / "missed.json", held) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "eft" in line and "win\\_rate" in line)
    assert f"| {PROMPTS - 1} |" in row


def scored(value, from_prompt: int):
    """A change that gives every prompt from a number on another reward; None: no score at all."""

    def change(row, number):
        if number < from_prompt:
            return row
        return None if value is None else {**row, "scores": {**row["scores"], "gold_reward": value}}

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (scored(float("-inf"), PROMPTS - 5), "5 gold_reward scores of eft-"),
        (scored(float("nan"), 0), f"{PROMPTS} gold_reward scores of eft-"),
        (scored(float("nan"), 2), f"{PROMPTS - 2} gold_reward scores of eft-"),
        (scored(None, PROMPTS - 1), "score of eft-"),
        (
            lambda row, number: {**row, "scores": {"fluency": 1.0}} if number == 3 else row,
            "1 gold_reward score of eft-",
        ),
    ],
)
def test_lost_and_infinite_scores_are_refused(run, baseline, change, said, capsys):
    """Each of these passed: the prompts without a finite score were left out, and the rest compared."""
    rewrite(run, "scores", change)
    assert gate(run, baseline) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert error.count("\n") == 0


def test_a_run_of_fewer_seeds_is_refused(run, baseline, capsys):
    for trial in (run / "trials").glob("*.json"):
        if json.loads(trial.read_text())["seed"] == 1:
            for file in run.glob(f"*/{trial.stem}.json*"):
                file.unlink()
    assert gate(run, baseline) == 2
    assert "lacks seed 1, which the baseline has" in capsys.readouterr().err


def test_a_setting_of_fewer_seeds_is_refused(run, baseline, capsys):
    trial = next(file for file in (run / "trials").glob("eft-*.json") if json.loads(file.read_text())["seed"] == 1)
    trial.unlink()
    assert gate(run, baseline) == 2
    assert "'eft weight=2' lacks seed 1" in capsys.readouterr().err


def test_debug_does_not_turn_bad_input_into_a_regression(run, tmp_path, capsys):
    assert main(["gate", "--debug", f"run={run}", f"baseline={tmp_path / 'none.json'}"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_the_table_is_appended_to_the_summary_of_a_job(run, baseline, tmp_path, monkeypatch, capsys):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert gate(run, baseline, f"junit={tmp_path / 'ci/junit.xml'}") == 0
    assert summary.read_text().startswith("before\n## Gate")
    assert summary.read_text().removeprefix("before\n").strip() == capsys.readouterr().out.strip()
    assert ElementTree.parse(tmp_path / "ci/junit.xml").getroot().find("testsuite").get("failures") == "0"


def test_the_gate_runs_without_torch(run, baseline):
    code = (
        "import sys\nfrom harness.cli import main\n"
        f"assert main(['gate', 'run={run}', 'baseline={baseline}']) == 0\n"
        "assert not {'torch', 'transformers', 'lm_eval'} & set(sys.modules), 'imported'\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
