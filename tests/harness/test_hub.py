"""Models by their names on the hub, where there is no way to it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


MISSING = ["own/other", "gpt2", "'a b/c'", "a/b/c", "own/na..me", "./gpt2"]
COMMANDS = """
import contextlib, io, json, sys
from harness.cli import main
results = []
for words in json.load(sys.stdin):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main(words)
    results.append([code, said.getvalue()])
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def cut_off(tiny, tiny_models, tmp_path_factory) -> tuple[Path, dict[str, tuple[int, str]]]:
    """Sweeps of bases with a hub that refuses every connection, and a cache that has ``own/small`` and ``old``.

    One process runs them all, for huggingface_hub reads the environment once; base -> (exit code, stderr).
    """
    folder = tmp_path_factory.mktemp("hub")
    for name in ("own--small", "old"):  # laid out as huggingface_hub does
        home = folder / f"hf/hub/models--{name}"
        (home / "refs").mkdir(parents=True)
        (home / "refs/main").write_text(COMMIT)
        shutil.copytree(tiny_models["base"], home / f"snapshots/{COMMIT}")
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment |= {"PYTHONPATH": str(ROOT), "HF_HOME": str(folder / "hf"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    small = [*tiny, "guider=base", "task.n_dev=2", "task.n_test=2", "seeds=0"]
    bases = {**{base: [f"name=missing-{n}"] for n, base in enumerate(MISSING)}, "own/small": [], "old": ["--dry-run"]}
    commands = [["sweep", *small, f"model.base={base}", *more] for base, more in bases.items()]
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        input=json.dumps(commands), cwd=folder, env=environment, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    return folder, {base: (code, said) for base, (code, said) in zip(bases, results, strict=True)}


def test_a_cached_model_is_used_and_that_is_said(cut_off):
    folder, results = cut_off
    code, said = results["own/small"]
    assert code == 0, said
    assert "own/small: the hub can't be asked" in said
    (trial, _) = (folder / "runs/tiny/trials").glob("base-*.json")
    assert COMMIT in trial.read_text()
    assert results["old"][0] == 0  # a name without an owner, as gpt2


@pytest.mark.parametrize("base", MISSING)
def test_what_is_not_there_is_one_line(base, cut_off):
    folder, results = cut_off
    code, said = results[base]
    assert code == 2
    (line,) = said.splitlines()
    assert line.startswith(f"error: {base.strip(chr(39))}: ")
    assert "give a folder" in line
    assert not list(folder.glob("runs/missing-*/**/*.jsonl"))
