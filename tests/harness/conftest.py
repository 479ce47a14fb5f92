"""Tiny random models with a real tokenizer, made on the spot, and the command line that runs them."""

import subprocess
from pathlib import Path

import forked
import pytest
from tiny_sweep import make_models, options


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
    """Run the command line in a process and a folder of its own: (arguments, folder) -> CompletedProcess."""

    def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess:
        return forked.run(arguments, folder, OMP_NUM_THREADS="1", HARNESS_CACHE=str(folder / "cache"))

    return run
