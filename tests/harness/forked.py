"""``python -m harness`` in processes of their own that need not import PyTorch again: forks of one that has."""

import os
import sys
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess

HEAVY = ["harness.sweep.runner", "harness.training.run", "harness.verbs.sweep", "lm_eval.evaluator", "reports.compile"]
QUIET = {"TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"}  # read as modules are imported
_context = get_context("forkserver")


def start(arguments: list[str], folder: Path, **environment: str) -> BaseProcess:
    """Start the command line in a folder; what it prints goes into ``stdout`` and ``stderr`` of a folder beside it."""
    before = dict(os.environ)
    os.environ.update(QUIET)
    try:
        _context.set_forkserver_preload(HEAVY)
        process = _context.Process(target=_run, args=(arguments, str(folder), environment))
        process.start()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return process


def run(arguments: list[str], folder: Path, timeout: float = 280, **environment: str) -> CompletedProcess:
    """Start it, wait for its end, and answer as `subprocess.run` does."""
    process = start(arguments, folder, **environment)
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        process.join()
    said = [(_beside(folder) / name).read_text() for name in ("stdout", "stderr")]
    return CompletedProcess(arguments, process.exitcode, *said)


def _beside(folder: Path) -> Path:
    return folder.with_name(folder.name + ".said")


def _run(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    from harness.__main__ import run

    _beside(Path(folder)).mkdir(exist_ok=True)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(_beside(Path(folder)) / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(folder)
    os.environ.update(environment)
    sys.path.insert(0, folder)  # as python -m does
    sys.argv = ["harness", *arguments]
    sys.exit(run())
