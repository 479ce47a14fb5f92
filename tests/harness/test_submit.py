"""Submissions: their layout, what is refused, and that alpaca_eval reads the same row out of them."""

import gzip
import importlib
import json
import math
import os
import statistics
from pathlib import Path

import pytest
import yaml

from harness.errors import UserError
from harness.judges.answers import Answers, request_hash
from harness.records.judgement import Pair, prompt_key
from harness.verbs.submit import main

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("SHARED_DIR", ROOT.parent / "shared")) / "data" / "alpaca_eval"
MODEL = "FuseChat-Llama-3.2-1B-Instruct"
REFERENCE = SHARED / "outputs" / "gpt4_1106_preview.json.gz"
needs_texts = pytest.mark.skipif(not REFERENCE.exists(), reason="needs the recorded outputs in ../shared (SHARED_DIR)")
SERVER = "https://judge.example/v1"


def read(path: Path) -> list[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return json.load(file)


def write_lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def recorded_answer(preference: float, switched: bool) -> dict:
    """The judge's answer with this preference: the probability of "m", the output that stands first."""
    p = preference - 1 if switched else 2 - preference
    top = [{"token": token, "logprob": math.log(max(q, 1e-12))} for token, q in (("m", p), ("M", 1 - p))]
    return {"message": {"role": "assistant", "content": "m"}, "logprobs": {"content": [{"top_logprobs": top}]}}


@pytest.fixture(scope="module")
def judged(tmp_path_factory) -> Path:
    """A run of a guided model, through a chat template, judged with GPT-4-Turbo's recorded preferences."""
    from harness.adapters.annotators import Annotator

    run = tmp_path_factory.mktemp("run")
    rows, baseline = read(SHARED / "outputs" / f"{MODEL}.json.gz"), read(REFERENCE)
    place = {row["instruction"]: index for index, row in enumerate(baseline)}
    pairs = [Pair(row["instruction"], baseline[place[row["instruction"]]]["output"], row["output"]) for row in rows]
    annotator = Annotator("weighted_alpaca_eval_gpt4_turbo")
    answers = []
    for question in annotator.questions(pairs):
        choice = recorded_answer(rows[question.places[0]]["preference"], question.switched[0])
        answers.append(
            {
                "model": question.body["model"],
                "base_url": SERVER,
                "request": request_hash(question.body),
                "choice": choice,
                "reason": None,
                "usage": {"prompt_tokens": 1000, "completion_tokens": 1},
                "seconds": 0.5,
                "date": "2026-11-21T07:00:00",
            }
        )
    Answers(run / "answers.jsonl").append(answers)
    records = []
    for pair in pairs:
        prompt = f"<|user|>{pair.instruction}<|assistant|>"
        index = place[pair.instruction]
        records.append({"key": prompt_key(prompt), "index": index, "prompt": prompt, "response": pair.response})
    write_lines(run / "records" / "t1.jsonl", records)
    (run / "trials").mkdir()
    trial = {"id": "t1", "method": "ivg", "settings": {"weight": 1.5}, "task": "alpaca_eval", "seed": 3}
    trial |= {"guider": {"_target_": "guiders.Guider"}, "sampling": {"temperature": 0.7}, "revisions": {"base": "abc"}}
    (run / "trials" / "t1.json").write_text(json.dumps(trial))
    return run


def submit(run: Path, out: Path, *more: str) -> int:
    return main(
        [f"run={run}", "name=My-Model_1.0", "link=https://example.org/m", f"reference={REFERENCE}", f"out={out}", *more]
    )


@needs_texts
def test_the_files_are_those_of_a_pull_request(judged, tmp_path, capsys):
    assert submit(judged, tmp_path) == 0
    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert written == [
        "results/My-Model_1.0/model_outputs.json",
        "results/My-Model_1.0/weighted_alpaca_eval_gpt4_turbo/annotations.json",
        "results/My-Model_1.0/weighted_alpaca_eval_gpt4_turbo/leaderboard.csv",
        "src/alpaca_eval/models_configs/My-Model_1.0/configs.yaml",
        "src/alpaca_eval/models_configs/My-Model_1.0/prompt.txt",
    ]
    assert "alpaca_eval computes the same row" in capsys.readouterr().out
    outputs = json.loads((tmp_path / written[0]).read_text())
    assert [row["instruction"] for row in outputs] == [row["instruction"] for row in read(REFERENCE)]
    assert {row["generator"] for row in outputs} == {"My-Model_1.0"}
    notes = json.loads((tmp_path / written[1]).read_text())
    assert {note["annotator"] for note in notes} == {"weighted_alpaca_eval_gpt4_turbo"}
    assert [note["output_2"] for note in notes] == [row["output"] for row in outputs]
    # 1,000 tokens in and 1 out, at 10 and 30 dollars per million; equal outputs were not asked
    asked = [note for note in notes if note["output_1"] != note["output_2"]]
    assert [note["preference_price_per_example"] for note in asked] == pytest.approx([0.01003] * 803)
    (config,) = yaml.safe_load((tmp_path / written[3]).read_text()).values()
    assert config["completions_kwargs"]["settings"] == {"weight": 1.5}
    assert config["completions_kwargs"]["revisions"] == {"base": "abc"}
    module, _, name = config["fn_completions"].rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))
    assert config["link"] == "https://example.org/m"
    assert (tmp_path / written[4]).read_text() == "<|user|>{instruction}<|assistant|>"


@needs_texts
def test_the_row_is_the_published_one(judged, tmp_path):
    """leaderboard.csv of the AlpacaEval repository, row FuseChat-Llama-3.2-1B-Instruct."""
    submit(judged, tmp_path)
    (file,) = tmp_path.rglob("leaderboard.csv")
    header, row = (line.split(",") for line in file.read_text().splitlines())
    row = dict(zip(header, row, strict=True))
    assert float(row["win_rate"]) == pytest.approx(29.9219322658882, abs=1e-7)
    assert float(row["standard_error"]) == pytest.approx(1.3934584328741797, abs=1e-7)
    assert float(row["length_controlled_winrate"]) == pytest.approx(25.27098247880791, abs=0.01)
    assert (row["n_wins"], row["n_wins_base"], row["n_draws"], row["avg_length"]) == ("233", "570", "2", "2259")


@needs_texts
@pytest.mark.parametrize(
    ("spoil", "culprit"),
    [
        (lambda records, answers: records.pop(), "804 outputs"),
        (lambda records, answers: records[5].update(response=" \n"), r"1 empty outputs \(instructions \d+\)"),
        (lambda records, answers: answers.pop(), "not recorded"),
        (lambda records, answers: [row.update(model="another-judge") for row in answers], "another-judge"),
        (lambda records, answers: answers[9].update(reason="can't read"), "1 of 805 judgements are not recorded"),
        (lambda records, answers: records[5].update(prompt="few shots " + records[5]["prompt"]), "no one template"),
        (lambda records, answers: records[5].update(prompt="another question"), "another prompt"),
    ],
)
def test_what_the_leaderboard_would_refuse_is_refused_and_nothing_written(judged, tmp_path, spoil, culprit):
    run = tmp_path / "run"
    records, answers = (
        [json.loads(line) for line in (judged / name).open()] for name in ("records/t1.jsonl", "answers.jsonl")
    )
    for row in answers:
        row.pop("checksum")  # as an earlier version wrote them: what is spoiled here is not the file
    spoil(records, answers)
    write_lines(run / "records" / "t1.jsonl", records)
    write_lines(run / "answers.jsonl", answers)
    with pytest.raises(UserError, match=culprit):
        submit(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../up", "a/b", "a\\\\b", ".hidden", "'a b'", "~root", "''", "a" * 101, '"x\ny"'])
def test_a_name_that_is_no_folders_name_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="name"):
        main([f"run={tmp_path}", f"name={name}", "link=https://example.org"])


@pytest.mark.parametrize("link", ["'javascript:alert(1)'", "example.org", "'https://a b'"])
def test_a_link_that_is_no_address_is_refused(tmp_path, link):
    with pytest.raises(UserError, match="link"):
        main([f"run={tmp_path}", "name=a", f"link={link}"])


@pytest.mark.parametrize("trial", ["t9", "../../etc/passwd"])
def test_a_trial_that_is_not_in_the_run_is_refused(tmp_path, trial):
    write_lines(tmp_path / "records" / "t1.jsonl", [])
    with pytest.raises(UserError, match="choose one of t1"):
        main([f"run={tmp_path}", f"trial={trial}", "name=a", "link=https://example.org"])


def test_another_task_becomes_lm_evals_results_with_samples(tmp_path):
    prompts, rewards = ["The film", "The plot", "The cast"], [1.0, 2.0, 6.0]
    records = [
        {"key": prompt_key(text), "index": index, "prompt": text, "response": f" number {index}"}
        for index, text in enumerate(prompts)
    ]
    scores = [{"key": row["key"], "scores": {"gold_reward": r}} for row, r in zip(records, rewards, strict=True)]
    write_lines(tmp_path / "records" / "t1.jsonl", records[::-1])
    write_lines(tmp_path / "scores" / "t1.jsonl", scores)
    (tmp_path / "trials").mkdir()
    trial = {"id": "t1", "method": "ivg", "settings": {}, "task": "reviews", "seed": 0, "revisions": {"base": "r"}}
    (tmp_path / "trials" / "t1.json").write_text(json.dumps(trial))
    assert main([f"run={tmp_path}", "name=mine", "link=https://example.org"]) == 0
    folder = tmp_path / "submission" / "mine"
    results = json.loads((folder / "results_t1.json").read_text())
    assert results["results"]["reviews"]["gold_reward,none"] == 3.0
    assert results["results"]["reviews"]["gold_reward_stderr,none"] == pytest.approx(statistics.stdev(rewards) / 3**0.5)
    assert results["config"]["model_revisions"] == {"base": "r"}
    samples = [json.loads(line) for line in (folder / "samples_reviews_t1.jsonl").open()]
    assert [sample["doc_id"] for sample in samples] == [0, 1, 2]
    assert samples[2]["resps"] == [[" number 2"]]
    assert samples[2]["gold_reward"] == 6.0
