"""A sweep end to end on tiny models: stages, resume after a kill, the second run, the report's contract."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest
from scripted_server import ScriptedServer, preference_for, refusal

from harness.cli import main
from harness.records.lines import Lines

ROOT = Path(__file__).resolve().parents[2]
TIMES = {"seconds", "checksum"}  # a checksum is of the seconds too


@pytest.fixture(scope="module")
def finished(tiny, command_line, tmp_path_factory) -> Path:
    """The folder of a sweep that was never interrupted."""
    folder = tmp_path_factory.mktemp("finished")
    done = command_line(["sweep", *tiny], folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs/tiny"


def rows(run: Path, kind: str) -> dict[str, list[dict]]:
    """Every row of a kind of file, in order, times left out."""
    found = {}
    for path in sorted((run / kind).glob("*.jsonl")):
        found[path.name] = [{k: v for k, v in row.items() if k not in TIMES} for row in Lines(path)]
    return found


def trials(run: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((run / "trials").glob("*.json"))]


def test_the_best_setting_of_each_method_by_the_dev_mean_runs_on_test_with_every_seed(finished):
    dev = [trial for trial in trials(finished) if trial["split"] == "dev"]
    test = [trial for trial in trials(finished) if trial["split"] == "test"]
    means = {}
    for trial in dev:
        values = [row["scores"]["gold_reward"] for row in Lines(finished / "scores" / f"{trial['id']}.jsonl")]
        assert len(values) == 4
        means.setdefault(trial["method"], {})[trial["setting"]] = sum(values) / len(values)
    assert {method: len(settings) for method, settings in means.items()} == {"base": 1, "eft": 2, "ivg": 2}
    for method, settings in means.items():
        best = max(settings.values())
        ran = {(trial["setting"], trial["seed"]) for trial in test if trial["method"] == method}
        assert {seed for _, seed in ran} == {0, 1}
        assert len(ran) == 2
        assert all(settings[setting] == best for setting, _ in ran)
    assert {trial["setting"] for trial in test} == {trial["setting"] for trial in dev if trial["selected"]}


def test_every_prompt_is_recorded_scored_and_judged_once(finished):
    for trial in trials(finished):
        name, prompts = f"{trial['id']}.jsonl", 4 if trial["split"] == "dev" else 6
        for kind in ("records", "scores", "judgements"):
            found = rows(finished, kind).get(name, [])
            assert len({row["key"] for row in found}) == len(found)
            assert len(found) == (0 if kind == "judgements" and trial["method"] == "base" else prompts)
    base = [trial for trial in trials(finished) if trial["method"] == "base"]
    baselines = {trial["id"]: (trial["split"], trial["seed"]) for trial in base}
    for trial in trials(finished):
        for judgement in rows(finished, "judgements").get(f"{trial['id']}.jsonl", []):
            assert baselines[judgement["baseline"]] == (trial["split"], trial["seed"])


def test_the_recorded_cost_of_a_sampled_answer_is_every_models_every_token_but_the_first(finished):
    for trial in trials(finished):
        if trial["method"] in ("base", "eft"):
            models = 1 if trial["method"] == "base" else 3
            for row in Lines(finished / "records" / f"{trial['id']}.jsonl"):
                assert row["forward_passes"] == models * (row["n_tokens"] - 1)


def test_the_preference_is_one_plus_the_logistic_function_of_the_reward_difference(finished):
    import math

    trial = next(trial for trial in trials(finished) if trial["method"] == "ivg" and trial["split"] == "test")
    (baseline,) = {row["baseline"] for row in Lines(finished / "judgements" / f"{trial['id']}.jsonl")}
    reward = {}
    for side in (baseline, trial["id"]):
        found = Lines(finished / "scores" / f"{side}.jsonl")
        reward[side] = {row["key"]: row["scores"]["gold_reward"] for row in found}
    for row in Lines(finished / "judgements" / f"{trial['id']}.jsonl"):
        difference = reward[trial["id"]][row["key"]] - reward[baseline][row["key"]]
        assert row["preference"] == pytest.approx(1 + 1 / (1 + math.exp(-difference)))


def test_the_second_run_generates_nothing_and_imports_neither_torch_nor_lm_eval(tiny, finished, monkeypatch, capsys):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    code = (
        "import sys\nfrom harness.cli import main\n"
        f"code = main({['sweep', *tiny]!r})\n"
        "assert code == 0, code\n"
        "assert not {'torch', 'transformers', 'lm_eval'} & set(sys.modules), 'imported'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=finished.parents[1],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "nothing to generate" in done.stdout
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_a_killed_sweep_goes_on_where_it_was_and_ends_in_the_same_files(tiny, finished, command_line, tmp_path):
    run = tmp_path / "runs/tiny"
    reached = []
    for wanted in (3, 17):  # samples on disk when the process is killed
        process = forked.start(["sweep", *tiny], tmp_path)
        try:
            while samples(run) < wanted and process.is_alive():
                time.sleep(0.002)
        finally:
            process.kill()
            process.join()
        reached.append(samples(run))
        tear_last_line(run)
    assert reached[0] < reached[1] < sum(len(found) for found in rows(finished, "records").values())
    done = command_line(["sweep", *tiny], tmp_path)
    assert done.returncode == 0, done.stderr
    assert trials(run) == trials(finished)
    for kind in ("records", "scores", "judgements"):
        assert rows(run, kind) == rows(finished, kind)


def samples(run: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (run / "records").glob("*.jsonl"))


def tear_last_line(run: Path) -> None:
    """What a kill in the middle of a write leaves: the last record cut in two."""
    last = max((run / "records").glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    data = last.read_bytes()
    last.write_bytes(data[:-20])


def test_a_changed_grid_keeps_the_trials_that_both_have(tiny, finished, monkeypatch, capsys):
    monkeypatch.chdir(finished.parents[1])
    before = rows(finished, "records")
    assert main(["sweep", *tiny, "guider=[eft]"]) == 0
    assert "nothing to generate" in capsys.readouterr().out
    assert rows(finished, "records") == before
    assert {trial["method"] for trial in trials(finished)} == {"base", "eft"}
    assert main(["sweep", *tiny]) == 0
    assert "nothing to generate" in capsys.readouterr().out
    assert {trial["method"] for trial in trials(finished)} == {"base", "eft", "ivg"}


def test_the_manifest_tells_what_the_run_was_made_with(finished):
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["command"][:4] == ["python", "-m", "harness", "sweep"]
    assert manifest["packages"]["torch"]
    assert {name.rpartition("/")[2] for name in manifest["models"]} == {"base", "tuned", "untuned", "value"}
    assert sorted(found["prompts"] for found in manifest["datasets"].values()) == [4, 6]
    assert set(manifest["wall_seconds"]) == {"dev", "test"}


def test_a_dry_run_counts_and_runs_nothing(tiny, finished, monkeypatch, capsys):
    monkeypatch.chdir(finished.parents[1])
    before = sorted(finished.rglob("*"))
    assert main(["sweep", "--dry-run", *tiny, "task.n_dev=10"]) == 0
    out = capsys.readouterr().out
    assert "5 trials" in out
    assert out.count("4 / 10") == 5
    assert "20 recorded, 30 to generate" in out
    assert "time left: about" in out
    assert sorted(finished.rglob("*")) == before


def test_without_a_selection_metric_every_setting_runs_on_every_prompt(tiny, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    overrides = ["select.metric=null", "guider=[eft]", "seeds=[3]", "task.n_test=2", "sampling.max_new_tokens=2"]
    assert main(["sweep", *tiny, *overrides]) == 0
    found = trials(tmp_path / "runs/tiny")
    ran = {(trial["method"], trial["split"], trial["seed"]) for trial in found}
    assert ran == {("base", "all", 3), ("eft", "all", 3)}
    assert len(found) == 3


def test_a_missing_judgement_is_asked_for_again_and_too_many_end_with_exit_code_3(
    tiny, finished, tmp_path, monkeypatch, capsys
):
    """A server that refuses the first request then answers: one more question, and the last row counts."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, tmp_path / "runs/tiny")
    with ScriptedServer(lambda n, _: refusal(400, "filtered") if n == 1 else preference_for(0.5)) as server:
        command = ["sweep", *tiny, "judge=openai", f"judge.base_url={server.url}", "judge.in_flight=1"]
        assert main(command) == 3
        said = capsys.readouterr()
        last = last_judgements(tmp_path / "runs/tiny")
        assert {row["judge"].partition(":")[0] for row in last} == {"weighted_alpaca_eval_gpt4_turbo"}
        assert [row["reason"] for row in last if row["preference"] is None] == ["HTTP 400: filtered"]
        assert f"1 of {len(last)} judgements are missing, more than judge.max_missing=0.005" in said.err
        asked = len(server.bodies)
        assert main(command) == 0
        assert len(server.bodies) == asked + 1
        assert main(command) == 0
        assert len(server.bodies) == asked + 1
    assert len(last_judgements(tmp_path / "runs/tiny")) == len(last)
    assert {row["preference"] for row in last_judgements(tmp_path / "runs/tiny")} == {1.5}
    summary = json.loads((tmp_path / "runs/tiny/report/summary.json").read_text())
    assert all(row["win_rate"]["mean"] == pytest.approx(50) for row in summary if row["method"] != "base")


def last_judgements(run: Path) -> list[dict]:
    """The last row of every key of every trial."""
    return [row for path in (run / "judgements").glob("*.jsonl") for row in {r["key"]: r for r in Lines(path)}.values()]
