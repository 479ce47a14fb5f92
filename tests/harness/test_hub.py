"""Models by their names on the hub, where there is no way to it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cut_off(tiny, tiny_models, tmp_path):
    """A sweep of the base with a hub that refuses every connection, and a cache that has ``own/small`` and ``old``."""
    for name in ("own--small", "old"):  # laid out as huggingface_hub does
        home = tmp_path / f"hf/hub/models--{name}"
        (home / "refs").mkdir(parents=True)
        (home / "refs/main").write_text(COMMIT)
        shutil.copytree(tiny_models["base"], home / f"snapshots/{COMMIT}")

    def sweep(base: str, *more: str) -> subprocess.CompletedProcess:
        environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
        environment |= {"PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": "http://127.0.0.1:9"}
        words = ["sweep", *tiny, "guider=base", "task.n_dev=2", "task.n_test=2", "seeds=0", f"model.base={base}", *more]
        command = [sys.executable, "-m", "harness", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)

    return sweep


def test_a_cached_model_is_used_and_that_is_said(cut_off, tmp_path):
    done = cut_off("own/small")
    assert done.returncode == 0, done.stderr
    assert "own/small: the hub can't be asked" in done.stderr
    (trial, _) = (tmp_path / "runs/tiny/trials").glob("base-*.json")
    assert COMMIT in trial.read_text()
    assert cut_off("old", "--dry-run").returncode == 0  # a name without an owner, as gpt2


@pytest.mark.parametrize("base", ["own/other", "gpt2", "'a b/c'", "a/b/c", "own/na..me", "./gpt2"])
def test_what_is_not_there_is_one_line(base, cut_off, tmp_path):
    done = cut_off(base)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {base.strip(chr(39))}: ")
    assert "give a folder" in line
    assert not list(tmp_path.rglob("*.jsonl"))
