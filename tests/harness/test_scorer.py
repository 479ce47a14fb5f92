"""A changed scorer or judge is noticed: scored and judged again, never decoded again."""

import json
import math
from pathlib import Path

import pytest
import torch
from scripted_server import ScriptedServer, preference_for
from transformers import AutoModelForSequenceClassification, AutoTokenizer, GPT2Config, GPT2ForSequenceClassification

from harness.cli import main
from harness.records.lines import Lines

TASK = """
task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: ""
generation_kwargs: {until: [], do_sample: true, temperature: 1.0, max_gen_toks: 6}
metric_list: [{metric: bypass}]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [{"question": text} for text in ("The acting", "I watched", "A film", "Last night")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mine.yaml").write_text(TASK)
    return tmp_path


def reward_model(path: Path, tiny_models, seed: int) -> Path:
    """A random reward model; another one for another seed, in the same place."""
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=320, n_positions=128, n_embd=16, n_layer=1, n_head=2, num_labels=1, pad_token_id=0)
    model = GPT2ForSequenceClassification(config)
    torch.nn.init.normal_(model.score.weight)
    model.save_pretrained(path)
    AutoTokenizer.from_pretrained(tiny_models["base"]).save_pretrained(path)
    return path


def reward(path: Path, prompt: str, response: str) -> float:
    """The logit of a pair of texts, by transformers alone."""
    ids = AutoTokenizer.from_pretrained(path)(prompt, response, return_tensors="pt")
    with torch.no_grad():
        return AutoModelForSequenceClassification.from_pretrained(path).eval()(**ids).logits.item()


def swept(folder: Path, tiny, *more: str) -> dict[str, bytes]:
    """The bytes of the records after a sweep of the own task."""
    own = [f"task={folder / 'mine.yaml'}", "guider=eft", "grid.weight=1", "seeds=0", *more]
    assert main(["sweep", *tiny, *own]) == 0
    return {path.name: path.read_bytes() for path in (folder / "runs/tiny/records").glob("*.jsonl")}


def last(path: Path) -> dict[str, dict]:
    return {row["key"]: row for row in Lines(path)}


@pytest.mark.parametrize("changed", ["weights", "path", "template"])
def test_a_changed_gold_model_scores_again_and_decodes_nothing(changed, folder, tiny, tiny_models, capsys):
    gold = reward_model(folder / "gold", tiny_models, seed=1)
    given = [f"task.gold.path={gold}", "judge=reward"]
    records = swept(folder, tiny, *given)
    if changed == "weights":
        reward_model(gold, tiny_models, seed=2)
    elif changed == "path":
        gold = reward_model(folder / "other", tiny_models, seed=2)
        given = [f"task.gold.path={gold}", "judge=reward"]
    else:
        given.append("task.gold.template='{prompt} and {response}'")
    capsys.readouterr()
    assert swept(folder, tiny, *given) == records
    assert "nothing to generate" in capsys.readouterr().out
    run, seen = folder / "runs/tiny", 0
    for file in (run / "records").glob("*.jsonl"):
        scores = last(run / "scores" / file.name)
        for row in Lines(file):
            pair = ("", f"{row['prompt']} and {row['response']}") if changed == "template" else None
            wanted = (
                reward(gold, *(pair or (row["prompt"], row["response"]))) if pair is None else single(gold, pair[1])
            )
            assert scores[row["key"]]["scores"]["gold_reward"] == pytest.approx(wanted, abs=1e-4)
            seen += 1
    assert seen == 8  # two guiders, two dev and two test prompts
    for file in (run / "judgements").glob("*.jsonl"):
        for key, row in last(file).items():
            both = [last(run / "scores" / f"{side}.jsonl")[key]["scores"] for side in (row["baseline"], file.stem)]
            difference = both[1]["gold_reward"] - both[0]["gold_reward"]
            assert row["preference"] == pytest.approx(1 + 1 / (1 + math.exp(-difference)))
    manifest = json.loads((run / "manifest.json").read_text())
    assert str(gold) in manifest["models"]
    lengths = {path: len(path.read_bytes()) for path in run.rglob("*.jsonl")}
    swept(folder, tiny, *given)
    assert {path: len(path.read_bytes()) for path in run.rglob("*.jsonl")} == lengths  # once


def single(path: Path, text: str) -> float:
    ids = AutoTokenizer.from_pretrained(path)(text, return_tensors="pt")
    with torch.no_grad():
        return AutoModelForSequenceClassification.from_pretrained(path).eval()(**ids).logits.item()


def test_a_reward_judge_whose_weights_were_replaced_judges_again(folder, tiny, tiny_models):
    gold, judge = (reward_model(folder / name, tiny_models, seed) for seed, name in enumerate(("gold", "judge")))
    given = [f"task.gold.path={gold}", "judge=reward", f"judge.model={judge}"]
    records = swept(folder, tiny, *given)
    reward_model(judge, tiny_models, seed=7)
    assert swept(folder, tiny, *given) == records
    run, seen = folder / "runs/tiny", 0
    for file in (run / "judgements").glob("*.jsonl"):
        ours = last(run / "records" / file.name)
        for key, row in last(file).items():
            theirs = last(run / "records" / f"{row['baseline']}.jsonl")[key]
            if theirs["response"] == ours[key]["response"]:
                continue
            difference = reward(judge, ours[key]["prompt"], ours[key]["response"]) - reward(
                judge, theirs["prompt"], theirs["response"]
            )
            assert row["preference"] == pytest.approx(1 + 1 / (1 + math.exp(-difference)), abs=1e-4)
            seen += 1
    assert seen
    assert str(judge) in json.loads((run / "manifest.json").read_text())["models"]


def test_a_run_reads_a_reward_model_once_for_its_gold_scores_and_its_judgements(folder, tiny, tiny_models, monkeypatch):
    gold = reward_model(folder / "gold", tiny_models, seed=1)
    read = []
    load = AutoModelForSequenceClassification.from_pretrained
    monkeypatch.setattr(
        AutoModelForSequenceClassification,
        "from_pretrained",
        lambda path, *rest, **named: read.append(str(path)) or load(path, *rest, **named),
    )
    swept(folder, tiny, f"task.gold.path={gold}", "judge=reward", f"judge.model={gold}")
    run = folder / "runs/tiny"
    assert len(list((run / "scores").glob("*.jsonl"))) == 4
    assert len(list((run / "judgements").glob("*.jsonl"))) == 2
    assert read == [str(gold)]


def test_another_server_is_asked_although_the_judges_name_is_the_same(folder, tiny, tiny_models, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    gold = reward_model(folder / "gold", tiny_models, seed=1)

    def preferences(probability: float) -> tuple[int, set[float]]:
        with ScriptedServer(lambda *_: preference_for(probability)) as server:
            swept(folder, tiny, f"task.gold.path={gold}", "judge=openai", f"judge.base_url={server.url}")
            rows = [row for file in (folder / "runs/tiny/judgements").glob("*.jsonl") for row in last(file).values()]
            return len(server.bodies), {round(row["preference"], 3) for row in rows}

    asked, first = preferences(1.0)
    again, second = preferences(0.5)
    assert asked == again > 0
    assert first != second
    assert second <= {1.5}


@pytest.mark.parametrize("file", ["mine.yaml", "score.py"])
def test_a_changed_task_is_another_row_of_the_tax_table(file, folder, tiny):
    (folder / "score.py").write_text("def score(doc, results):\n    return {'points': 1.0}\n")
    text = TASK.replace("task: mine", "task: tax_of_mine\nprocess_results: !function score.score")
    (folder / "mine.yaml").write_text(
        text.replace("[{metric: bypass}]", "[{metric: points, aggregation: mean, higher_is_better: true}]").replace(
            "rows.jsonl", str(folder / "rows.jsonl")
        )
    )
    given = [*tiny, "guider=eft", "grid.weight=1", "task.names=tax_of_mine", f"task.path={folder}", "task.n_test=2"]

    def points() -> set[float]:
        assert main(["sweep", *given]) == 0
        found = json.loads((folder / "runs/tiny/report/tax.json").read_text())
        return {row["guided"] for row in found if row["metric"] == "points"}

    assert points() == {1.0}
    changed = folder / file
    if file == "score.py":
        changed.write_text(changed.read_text().replace("1.0", "3.0"))
        assert points() == {3.0}
    else:
        kept = len(list((folder / "runs/tiny/tax").glob("*.json")))
        changed.write_text(changed.read_text() + "metadata: {version: 2}\n")
        points()
        assert len(list((folder / "runs/tiny/tax").glob("*.json"))) == 2 * kept


CODE = """
def score(doc, results):
    return {{"letters": {expression}}}

def text(doc):
    return {prompt}
"""


def scored_task(folder: Path, expression: str, prompt: str = 'doc["question"]') -> None:
    """The own task with a metric in Python."""
    (folder / "mine_code.py").write_text(CODE.format(expression=expression, prompt=prompt))
    (folder / "mine.yaml").write_text(
        TASK.replace("metric: bypass", "metric: letters, aggregation: mean, higher_is_better: true").replace(
            'doc_to_text: "{{question}}"', "doc_to_text: !function mine_code.text"
        )
        + "process_results: !function mine_code.score\n"
    )


def letters(folder: Path) -> dict[str, list[float]]:
    found = {}
    for path in (folder / "runs/tiny/scores").glob("*.jsonl"):
        found[path.name] = [row["scores"]["letters"] for row in last(path).values()]
    return found


def test_a_changed_metric_scores_again_and_decodes_nothing_a_changed_prompt_decodes(folder, tiny, capsys):
    scored_task(folder, "float(len(results[0]))")
    given = ["select.metric=letters", "judge=reward"]
    records = swept(folder, tiny, *given)
    before = letters(folder)
    preferences = {path.name: last(path) for path in (folder / "runs/tiny/judgements").glob("*.jsonl")}

    scored_task(folder, "-2.0 * len(results[0])")
    assert (
        main(
            [
                "sweep",
                "--dry-run",
                *tiny,
                f"task={folder / 'mine.yaml'}",
                "guider=eft",
                "grid.weight=1",
                "seeds=0",
                *given,
            ]
        )
        == 0
    )
    assert ", 0 to generate" in capsys.readouterr().out
    assert swept(folder, tiny, *given) == records
    assert "nothing to generate" in capsys.readouterr().out
    assert letters(folder) == {name: [-2 * value for value in values] for name, values in before.items()}
    # the other way round is better now, for the reward judge too
    for path in (folder / "runs/tiny/judgements").glob("*.jsonl"):
        for key, row in last(path).items():
            assert (row["preference"] - 1.5) * (preferences[path.name][key]["preference"] - 1.5) <= 0

    scored_task(folder, "-2.0 * len(results[0])", prompt='doc["question"] + " then"')
    again = swept(folder, tiny, *given)
    new = again.keys() - records.keys()
    assert new == {f"{path.stem}.jsonl" for path in (folder / "runs/tiny/trials").glob("*.json")}
    assert "nothing to generate" not in capsys.readouterr().out
