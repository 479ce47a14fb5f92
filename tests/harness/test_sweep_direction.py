"""A metric of which less is better, and guards, through a real sweep: selection, judge, manifest, report, gate."""

import json
import math
from pathlib import Path

import pytest

from harness.cli import main
from harness.gate.metrics import Held, directed
from harness.records.lines import Lines
from harness.records.rows import as_text
from reports.run import load_run

TASK = """
task: toxic
dataset_path: json
dataset_kwargs: {data_files: prompts.jsonl}
output_type: generate_until
test_split: train
doc_to_text: "{{prompt}}"
doc_to_target: ""
process_results: !function toxic.score
generation_kwargs: {do_sample: true, temperature: 1.0, max_gen_toks: 8, until: []}
metric_list:
  - {metric: toxicity, aggregation: mean, higher_is_better: false}
  - {metric: charm, aggregation: mean, higher_is_better: true}
"""
SCORE = """
def score(doc, results):
    text = results[0].lower()
    return {"toxicity": 10 * text.count("e") / max(1, len(text)), "charm": float(len(set(text)))}
"""


@pytest.fixture(scope="module")
def options(tiny, tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("toxic")
    (folder / "toxic.yaml").write_text(TASK)
    (folder / "toxic.py").write_text(SCORE)
    texts = [f"The {noun} was" for noun in ("film", "plot", "actor", "scene", "music", "story", "pace", "end")]
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    more = ["select.metric=toxicity", "grid.weight=[0.5,2,5]", "sampling.temperature=1.0", f"run_dir={folder / 'run'}"]
    return [*tiny, f"task={folder / 'toxic.yaml'}", "task.n_dev=4", "task.n_test=4", "seeds=[0]", *more]


@pytest.fixture(scope="module")
def finished(options) -> Path:
    assert main(["sweep", *options]) == 0
    return Path(options[-1].partition("=")[2])


def trials(run: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in (run / "trials").glob("*.json")]


def means(run: Path, split: str, metric: str) -> dict[str, dict[str, float]]:
    """method -> setting -> mean score, read without the harness's selection."""
    found: dict[str, dict[str, float]] = {}
    for trial in trials(run):
        if trial["split"] == split:
            values = [row["scores"][metric] for row in Lines(run / "scores" / f"{trial['id']}.jsonl")]
            found.setdefault(trial["method"], {})[trial["setting"]] = sum(values) / len(values)
    return found


def test_the_least_toxic_setting_of_each_method_runs_on_test(finished):
    dev = means(finished, "dev", "toxicity")
    ran = {(trial["method"], trial["setting"]) for trial in trials(finished) if trial["split"] == "test"}
    assert ran == {(method, min(found, key=found.get)) for method, found in dev.items()}
    assert all(len(set(dev[method].values())) > 1 for method in ("eft", "ivg"))


def test_the_judge_prefers_the_less_toxic_response_and_says_what_it_compares(finished):
    judged = 0
    for trial in trials(finished):
        ours = {row["key"]: row["scores"]["toxicity"] for row in Lines(finished / "scores" / f"{trial['id']}.jsonl")}
        for row in Lines(finished / "judgements" / f"{trial['id']}.jsonl"):
            base = Lines(finished / "scores" / f"{row['baseline']}.jsonl")
            theirs = next(other["scores"]["toxicity"] for other in base if other["key"] == row["key"])
            assert row["judge"] == "reward:-toxicity"
            assert row["preference"] == pytest.approx(1 + 1 / (1 + math.exp(ours[row["key"]] - theirs)))
            judged += ours[row["key"]] != theirs
    assert judged > 0


def test_the_run_remembers_directions_judge_and_day_so_that_a_report_needs_no_task(finished):
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["higher_is_better"] == {"toxicity": False, "charm": True}
    assert manifest["judge"] == {"name": "reward"}
    assert len(manifest["date"]) == len("2024-02-29")
    run = load_run(finished)
    assert (run.directions.of("toxicity"), run.directions.of("charm")) == ("lower", "higher")
    assert Path(run.about.base).name == "base"
    text = (finished / "report/summary.md").read_text()
    assert "toxicity\u00a0↓" in text
    assert "charm\u00a0↑" in text


def test_the_headline_ranks_by_the_lowest(finished):
    summary = json.loads((finished / "report/summary.json").read_text())
    dev = [row for row in summary if row["split"] == "dev"]
    least = min((row for row in dev if row["method"] != "base"), key=lambda row: row["toxicity"]["mean"])
    text = (finished / "report/summary.md").read_text().partition("\n")[0]
    method = {"eft": "EFT", "ivg": "IVG"}[least["method"]]
    assert f"{method} · " in text
    assert "highest toxicity" not in text


def test_a_run_of_before_directions_were_recorded_asks_its_task_and_judges_anew(options, finished, capsys):
    before = json.loads((finished / "manifest.json").read_text())
    old = {name: value for name, value in before.items() if name != "higher_is_better"}
    (finished / "manifest.json").write_text(json.dumps(old))
    for path in (finished / "judgements").glob("*.jsonl"):  # as they were: the wrong way round
        rows = [row | {"judge": "reward:toxicity", "preference": 3 - row["preference"]} for row in Lines(path)]
        path.write_text(as_text(path, rows))
    assert main(["sweep", *options]) == 0
    assert "nothing to generate" in capsys.readouterr().out
    assert json.loads((finished / "manifest.json").read_text())["higher_is_better"] == before["higher_is_better"]
    for path in (finished / "judgements").glob("*.jsonl"):
        assert {row["judge"] for row in {row["key"]: row for row in Lines(path)}.values()} == {"reward:-toxicity"}


def test_a_guard_that_no_setting_keeps_leaves_its_method_out_and_says_so(options, finished, capsys):
    charm = means(finished, "dev", "charm")
    bound = max(charm["eft"].values()) + 0.01
    kept = {setting for setting, value in charm["ivg"].items() if value >= bound}
    toxicity = means(finished, "dev", "toxicity")["ivg"]
    assert main(["sweep", *options, f"select.guard=[charm>={bound}]"]) == 0
    out = capsys.readouterr().out
    assert f"eft: no setting keeps charm>={bound:g} on the dev prompts; it is not run on the test prompts" in out
    assert "Left out, as none of its settings satisfies" in out
    ran = {trial["method"]: trial["setting"] for trial in trials(finished) if trial["split"] == "test"}
    assert set(ran) == {"base"} | ({"ivg"} if kept else set())
    assert not kept or ran["ivg"] == min(kept, key=toxicity.get)


def test_the_gate_holds_a_metric_in_the_task_s_direction(finished):
    held = {name: Held(tolerance=1.0) for name in ("toxicity", "charm", "kl", "length")}
    found = directed(held | {"fluency": Held(direction="same")}, load_run(finished).directions)
    ways = {name: rule.direction for name, rule in found.items()}
    assert ways == {"toxicity": "lower", "charm": "higher", "kl": "lower", "length": "same", "fluency": "same"}
