"""The code of README.md and docs/*.md does what the pages say.

Python is run, the blocks of a page in one namespace, with tiny models in the folders that it names. Commands are
composed and checked as the verb itself does before it loads anything; what they are given in YAML on the same page is
there. A block that can't be so much as that is marked ``<!-- not run: reason -->`` on its page.
"""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch
import yaml
from code_blocks import ROOT, Block, blocks, commands, pages

sys.path.insert(0, str(ROOT / "tests" / "guiders"))
import tiny_models

torch.set_num_threads(1)
PAGES = {str(page.relative_to(ROOT)): blocks(page) for page in pages()}
ALL = [block for found in PAGES.values() for block in found]
SHELL = [block for block in ALL if not block.not_run and commands(block)]
YAML = [block for block in ALL if not block.not_run and block.language == "yaml"]
PYTHON = [name for name, found in PAGES.items() if any(one.language == "python" for one in found)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where a reader would stand: models in folders of the pages' names."""
    made = tmp_path_factory.mktemp("reader")
    for seed, name in enumerate(("base", "tuned", "untuned")):
        model = tiny_models.lm("gpt2", seed)
        model.model.save_pretrained(made / name)
        model.tokenizer.save_pretrained(made / name)
    value = tiny_models.value()
    value.model.save(made / "value")
    value.tokenizer.save_pretrained(made / "value")
    return made


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def write_files(page: str, folder: Path) -> None:
    """The files that the page shows, and those that they name."""
    for block in PAGES[page]:
        if block.file:
            text = block.text.replace("/abs/", f"{folder}/")
            (folder / Path(block.file).name).write_text(text, encoding="utf-8")
    (folder / "prompts.jsonl").write_text('{"prompt": "It was"}\n{"prompt": "A film"}\n', encoding="utf-8")
    (folder / "my_task.py").write_text("def score(doc, results):\n    return {'my_score': 1.0}\n", encoding="utf-8")


@pytest.mark.parametrize("page", PYTHON)
def test_the_python_of_a_page_runs_in_its_order(page, here, monkeypatch):
    names: dict = {"__name__": "a_page"}
    monkeypatch.setitem(sys.modules, "a_page", sys.modules[__name__])  # dataclasses look their module up
    for block in PAGES[page]:
        if block.language == "python" and not block.not_run:
            exec(compile("\n" * block.line + block.text, page, "exec"), names)
    check_names(page, names)


def check_names(page: str, names: dict) -> None:
    """What a page's code is to have made."""
    if page == "README.md":
        assert names["one"].text
        assert names["one"].value is not None
    if page == "docs/add_a_judge.md":
        from harness.records.judgement import Pair

        shorter, longer = Pair("say", "a longer response", "short"), Pair("say", "no", "much longer")
        judged = names["Longest"]().judge([shorter, longer], "base", None)
        assert [one.preference for one in judged] == [1.0, 2.0]


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.id)
def test_commands_are_understood(block, here):
    write_files(block.page, here)
    for words in commands(block):
        understood(words)


def understood(words: list[str]) -> None:
    """Parse, compose and validate a command, as it does itself before anything is loaded.

    Raises:
        ValueError: it would be refused.
    """
    program, *rest = words
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        given = [word for word in rest if "=" not in word]
        assert set(given) <= set(targets), f"make {given}: no such target"
    elif program == "python" and rest[:2] == ["-m", "harness"]:
        composed(rest[2], [word for word in rest[3:] if word != "..."])
    elif program == "python" and rest[0] == "-m":
        assert importlib.util.find_spec(rest[1]), f"{rest[1]}: no such module"
    else:
        assert program == "git", f"{program}: write down how such a command is checked"


def composed(verb: str, arguments: list[str]) -> None:
    """A verb's own composition and checks."""
    from harness.config.compose import compose
    from harness.config.schema import validated
    from harness.trials.composed import composed_sweep

    given = [word for word in arguments if not word.startswith("--")]
    if verb in ("sweep", "doctor"):
        composed_sweep(given)
    elif verb == "train":
        from harness.training.config import Train

        validated(Train, compose("train", given).config)
    elif verb == "gate":
        from harness.gate.config import Gate

        validated(Gate, compose("gate", given).config)
    elif verb == "report":
        from harness.records.report import ReportSpec

        validated(ReportSpec, compose("report", given).config)
    elif verb == "bench":
        from harness.bench.settings import BenchFile

        validated(BenchFile, compose("bench", given).config)
    elif verb == "judge":
        from harness.judges.run import JudgeRun

        config = {name: value for name, value in compose("judge", given).config.items() if value is not None}
        validated(JudgeRun, {"reference": None, **config})
    elif verb == "lm_eval":
        from harness.adapters.lm_eval import GuidedLM
        from harness.adapters.lm_eval_cli import named_tasks

        model = GuidedLM.create_from_arg_string(arguments[arguments.index("--model_args") + 1])
        assert model.get_model_info()
        assert named_tasks(arguments)
    else:
        pytest.fail(f"{verb}: write down how this verb's options are checked")


def test_a_command_that_is_wrong_is_seen(here):
    """What the check is worth: one letter more, an option that there is not, a target that there is not."""
    for words in (
        ["python", "-m", "harness", "sweep", "guider=[ivgg]"],
        ["python", "-m", "harness", "train", "trains=dpo"],
    ):
        with pytest.raises(ValueError, match="did you mean"):
            understood(words)
    with pytest.raises(AssertionError, match="no such target"):
        understood(["make", "sweeep"])


@pytest.mark.parametrize("block", YAML, ids=lambda block: block.id)
def test_yaml_is_what_its_schema_says(block, here):
    write_files(block.page, here)
    if "_target_: guiders.Guider" in block.text:
        name = Path(block.file).name
        composed("sweep", [f"guider=[{name}]", "model.base=base", "model.tuned=tuned", "model.untuned=untuned"])
    elif "task:" in block.text:
        composed("sweep", [f"task={block.file}", "select.metric=my_score", "judge=null"])
    elif "fn_completion_parser" in block.text:
        annotator(block, here)
    elif "differs:" in block.text:
        from harness.gate.accepted import read

        (here / "accepted.yaml").write_text(block.text, encoding="utf-8")
        assert [one.differs for one in read(here / "accepted.yaml")] == [yaml.safe_load(block.text)[0]["differs"]]
    else:
        pytest.fail("write down by which schema this YAML is checked")


def annotator(block: Block, folder: Path) -> None:
    """The annotator's folder as the page lays it out is one that a judge can be made of."""
    from harness.adapters.annotators import Annotator
    from harness.records.judgement import Pair

    made = folder / "my_annotators" / "helpful"
    made.mkdir(parents=True, exist_ok=True)
    (made / "configs.yaml").write_text(block.text, encoding="utf-8")
    prompt = "<|im_start|>user\nWhich answers {instruction}: m {output_1} or M {output_2}?\n<|im_end|>\n"
    (made / "prompt.txt").write_text(prompt, encoding="utf-8")
    (question,) = Annotator(str(made)).questions([Pair("the question", "ours", "theirs")])
    assert question.body["model"] == "my-judge"


def test_every_block_is_of_a_known_kind_and_those_left_out_say_why(capsys):
    left_out = [block for block in ALL if block.not_run]
    with capsys.disabled():
        print(f"\n{len(ALL)} code blocks, {len(left_out)} not run")
        for block in left_out:
            print(f"  {block.id}: {block.not_run}")
    assert {block.language for block in ALL} <= {"", "python", "yaml", "sh", "bash", "shell", "text"}
    assert len(SHELL) >= 10
    assert len(YAML) >= 5
    assert {"README.md", "docs/add_a_guider.md"} <= set(PYTHON)
