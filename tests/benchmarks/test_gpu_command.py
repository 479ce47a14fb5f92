"""The command `python -m benchmarks.gpu`: alone with four packages, a line for each step, and on from where it was."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.__main__ import main
from benchmarks.gpu.results import Results
from harness.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
# all that this project depends on besides torch, transformers, safetensors, tokenizers and what these bring
ABSENT = (
    "accelerate", "alpaca_eval", "datasets", "hydra", "jinja2", "lm_eval", "omegaconf", "openai", "pandas", "patsy",
    "peft", "plotly", "pyarrow", "pydantic", "rich", "scipy", "sklearn", "trl",
)  # fmt: skip
ALONE = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
import importlib.util
plain = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name.partition(".")[0] in {ABSENT!r} else plain(name, *a)
from benchmarks.gpu.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A file that a process with four packages has made, on the CPU."""
    path = tmp_path_factory.mktemp("gpu") / "figures.jsonl"
    arguments = ["--device", "cpu", "--quick", "--stage", "whole", "--out", str(path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", ALONE, *arguments], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "not measured here: the embedded sweep: hydra, pydantic" in done.stderr
    assert "AlpacaEval, ivg" in done.stdout
    return path


def test_a_line_for_the_machine_and_for_each_step(out):
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [line["stage"] for line in lines] == ["machine", "whole", "whole", "whole"]
    assert [line["step"] for line in lines[1:]] == ["ivg", "eft", "base"]
    assert all(line["finished"] == line["prompts"] == 8 for line in lines[1:])


def test_a_file_goes_on_with_what_it_lacks(tmp_path, capsys):
    path, arguments = tmp_path / "figures.jsonl", ["--device", "cpu", "--quick", "--stage", "whole"]
    assert main([*arguments, "--out", str(path)]) == 0
    whole = path.read_text(encoding="utf-8")
    lines = whole.splitlines(keepends=True)
    path.write_text("".join(lines[:3]) + lines[3][:20], encoding="utf-8")  # killed while it wrote
    capsys.readouterr()
    assert main([*arguments, "--out", str(path)]) == 0
    said = capsys.readouterr().err
    assert "whole: base: done" in said
    assert "whole: ivg" not in said
    assert [json.loads(line)["stage"] for line in path.read_text(encoding="utf-8").splitlines()] == [
        "machine", "whole", "whole", "whole",
    ]  # fmt: skip


def test_a_step_that_fails_is_a_line_and_the_rest_goes_on(tmp_path, monkeypatch, capsys):
    import benchmarks.gpu.whole as stage

    real = stage.whole
    monkeypatch.setattr(stage, "whole", lambda session, method: 1 / 0 if method == "eft" else real(session, method))
    path, arguments = tmp_path / "figures.jsonl", ["--device", "cpu", "--quick", "--stage", "whole"]
    assert main([*arguments, "--out", str(path)]) == 1
    assert "FAILED  whole: eft: ZeroDivisionError" in capsys.readouterr().out
    monkeypatch.setattr(stage, "whole", real)
    assert main([*arguments, "--out", str(path)]) == 1, "a step that failed is not run again by itself"
    assert main([*arguments, "--out", str(path), "--again"]) == 0


def test_bad_input_is_one_line(tmp_path, capsys):
    other = tmp_path / "other.jsonl"
    other.write_text('{"stage": "machine", "date": "x", "device": "another"}\n', encoding="utf-8")
    words = tmp_path / "words.jsonl"
    words.write_text("not a line\n", encoding="utf-8")
    for arguments, said in (
        (["--device", "cuda:99"], "not usable here"),
        (["--device", "cpu", "--quick", "--out", str(other)], "made on another machine or with other settings"),
        (["--device", "cpu", "--quick", "--out", str(words)], "words.jsonl:1: not a line of benchmarks.gpu"),
    ):
        assert main(arguments) == 2
        (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
        assert said in line


def test_results_refuse_other_settings(tmp_path):
    path = tmp_path / "figures.jsonl"
    Results(path, {"date": "1", "shape": "tiny"}).write("fast", "copy", {"rate": 1})
    assert Results(path, {"date": "2", "shape": "tiny"}).of("fast")["copy"]["rate"] == 1
    with pytest.raises(UserError, match="other settings"):
        Results(path, {"date": "2", "shape": "mistral-7b"})
