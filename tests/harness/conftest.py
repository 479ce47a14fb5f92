"""Tiny random models with a real tokenizer, made on the spot, and the command line that runs them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_sweep import make_models, options

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory) -> dict[str, str]:
    """Folders of a base, a tuned and an untuned GPT-2, a value model, and a base with another vocabulary."""
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def tiny(tiny_models) -> list[str]:
    """Overrides for a sweep of a few seconds on the tiny models."""
    return options(tiny_models)


@pytest.fixture(scope="session")
def command_line():
    """Run ``python -m harness`` in a folder of its own: (arguments, folder) -> CompletedProcess."""

    def run(arguments: list[str], folder: Path, **more) -> subprocess.CompletedProcess:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "HARNESS_CACHE": str(folder / "cache"),
        }
        return subprocess.run(
            [sys.executable, "-m", "harness", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
            **more,
        )

    return run
