"""Prompt steps: what the model reads is wrapped, what records are joined by is not."""

import json
from pathlib import Path

import pytest
from lm_eval.api.instance import Instance

from harness.adapters.lm_eval import GuidedLM
from harness.backends.protocol import Asked
from harness.cli import main
from harness.config.compose import choices, compose
from harness.config.prompt_step import PromptStep
from harness.records.judgement import prompt_key
from harness.records.lines import Lines
from harness.records.run_folder import RunFolder

TASK = """
task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: ""
generation_kwargs: {until: [], max_gen_toks: 12, do_sample: true, temperature: 1.0}
metric_list: [{metric: bypass}]
"""
ROWS = ["The acting", "A {prompt} film"]


@pytest.fixture
def sweep(tmp_path, tiny_models, monkeypatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text("".join(json.dumps({"question": row}) + "\n" for row in ROWS), encoding="utf-8")
    Path("mine.yaml").write_text(TASK, encoding="utf-8")
    models = [f"model.{role}={tiny_models[role]}" for role in ("base", "tuned", "untuned", "value")]
    return ["sweep", "preset=none", "task=mine.yaml", "model=hf", *models, "guider=eft", "judge=null",
            "select.metric=null", "seeds=[0]"]  # fmt: skip


def recorded(run: str) -> dict[str, list[dict]]:
    """Method -> rows of its records, in the prompts' order."""
    folder = RunFolder(Path("runs") / run)
    found = {}
    for file in sorted((folder.path / "trials").glob("*.json")):
        trial = json.loads(file.read_text())
        found[trial["method"]] = sorted(
            Lines(folder.path / "records" / f"{trial['id']}.jsonl"), key=lambda r: r["index"]
        )
    return found


def test_a_wrapped_prompt_decodes_as_that_text_and_is_known_by_the_plain_one(sweep):
    """The same task asked with the wrapped texts themselves gives the same responses, by other keys."""
    assert main([*sweep, "name=plain"]) == 0
    assert main([*sweep, "name=step", "prompt.template='Say: {prompt} !'"]) == 0
    wrapped = [f"Say: {row} !" for row in ROWS]
    Path("rows.jsonl").write_text("".join(json.dumps({"question": row}) + "\n" for row in wrapped), encoding="utf-8")
    assert main([*sweep, "name=asked"]) == 0
    plain, step, asked = recorded("plain"), recorded("step"), recorded("asked")
    for method in ("base", "eft"):
        assert (
            [row["key"] for row in step[method]] == [row["key"] for row in plain[method]] == list(map(prompt_key, ROWS))
        )
        assert [row["prompt"] for row in step[method]] == ROWS
        assert [row["wrapped"] for row in step[method]] == wrapped
        assert all("wrapped" not in row for row in plain[method])
        assert [row["response"] for row in step[method]] == [row["response"] for row in asked[method]]
        assert [row["response"] for row in step[method]] != [row["response"] for row in plain[method]]


def test_a_step_is_part_of_what_a_trial_is_and_none_is_not(sweep, capsys):
    assert main([*sweep, "name=one"]) == 0
    ids = {file.stem for file in Path("runs/one/trials").glob("*.json")}
    assert main([*sweep, "name=one", "prompt=none"]) == 0
    assert "nothing to generate" in capsys.readouterr().out
    assert main([*sweep, "name=one", "prompt=max_words"]) == 0
    now = {file.stem for file in Path("runs/one/trials").glob("*.json")}
    assert "generated 4 samples" in capsys.readouterr().out
    assert not now - ids & ids
    assert len(now - ids) == 2


def test_the_share_of_answers_over_the_length_is_a_score(sweep):
    assert main([*sweep, "name=short", "prompt=max_words", "prompt.max_words=2"]) == 0
    folder = Path("runs/short")
    for method, rows in recorded("short").items():
        (file,) = (folder / "scores").glob(f"{method}-*.jsonl")
        scores = {row["key"]: row["scores"]["over_length"] for row in Lines(file)}
        assert scores == {row["key"]: float(len(row["response"].split()) > 2) for row in rows}
        assert all("using 2 words or less" in row["wrapped"] for row in rows)
    assert json.loads((folder / "manifest.json").read_text())["higher_is_better"]["over_length"] is False


def test_inside_lm_eval_responses_are_of_the_wrapped_prompt(tiny_models):
    arguments = {f"model.{role}": tiny_models[role] for role in ("base", "tuned", "untuned", "value")}
    settings = {"preset": "none", "model": "hf", "guider": "base", "seeds": 0, **arguments}

    def answer(model, text):
        kwargs = {"until": [], "max_gen_toks": 8}
        return model.generate_until([Instance("generate_until", {}, (text, kwargs), 0)])

    step = GuidedLM(**settings, **{"prompt.template": "Say: {prompt} !"})
    assert answer(step, "The acting") == answer(GuidedLM(**settings), "Say: The acting !")
    with pytest.raises(Exception, match="set prompt=none") as caught:
        step.loglikelihood([Instance("loglikelihood", {}, ("The acting", " was"), 0)])
    assert "\n" not in str(caught.value)


def test_the_last_message_of_a_chat_is_wrapped():
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    found = PromptStep(template="<{prompt}>").asked(Asked("Hi", chat))
    assert found.prompt == [chat[0], {"role": "user", "content": "<Hi>"}]
    assert (found.text, found.wrapped, chat[1]["content"]) == ("Hi", "<Hi>", "Hi")


@pytest.mark.parametrize("name", choices("prompt"))
def test_every_step_is_a_valid_configuration(name):
    step = PromptStep(**compose("sweep", [f"prompt={name}"]).config["prompt"])
    assert step.text("WHAT?").count("WHAT?") == 1
    assert (step.text("WHAT?") == "WHAT?") == (name == "none")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("prompt.template=nothing", "lacks {prompt}"),
        ("prompt.template='{prompt} {max_words}'", "set max_words"),
        ("prompt.max_words=0", "prompt.max_words=0"),
        ("prompt=urail", "did you mean"),
    ],
)
def test_a_bad_step_is_one_line(sweep, override, said, capsys):
    assert main([*sweep, override]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
