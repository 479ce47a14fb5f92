"""One run of the command line in a process of its own, which may be killed from outside.

The process is forked from one that has imported what a sweep imports, since ten seconds of imports would be most of an
attempt. It shares nothing else with the others: working directory, output and command line are its own.
"""

import contextlib
import fcntl
import importlib
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import import_path

TIMEOUT = 120.0  # seconds; an attempt that takes longer hangs


@dataclass(frozen=True)
class Attempt:
    """What came of a run.

    Attributes:
        code: the exit code; of a killed process, minus the signal's number.
        out, err: what it printed.
        seconds: from its start to its end.
        hung: whether it was ended since it took too long.
    """

    code: int
    out: str
    err: str
    seconds: float
    hung: bool = False


def attempt(
    arguments: Sequence[str],
    folder: Path,
    before: Callable[[], None] | None = None,
    after: Callable[[], None] | None = None,
    kill_after: float | None = None,
    timeout: float = TIMEOUT,
) -> Attempt:
    """Run ``python -m harness ARGUMENTS`` in a folder.

    Args:
        before, after: called in the new process before and after the command line is.
        kill_after: seconds until SIGKILL.
    """
    pipes = [wide_pipe() for _ in range(2)]
    sys.stdout.flush()
    sys.stderr.flush()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(arguments, folder, before, after, [end for _, end in pipes])
    for _, end in pipes:
        os.close(end)
    status, hung = None, False
    while status is None:
        done, found = os.waitpid(child, os.WNOHANG)
        age = time.monotonic() - began
        if done:
            status = found
        elif (kill_after is not None and age > kill_after) or age > timeout:
            os.kill(child, signal.SIGKILL)
            status, hung = os.waitpid(child, 0)[1], age > timeout
        else:
            time.sleep(0.002)
    out, err = (_read(end) for end, _ in pipes)
    return Attempt(os.waitstatus_to_exitcode(status), out, err, time.monotonic() - began, hung)


def wide_pipe() -> tuple[int, int]:
    """A pipe (reading end, writing end) that holds more than any attempt prints: nobody need read while it runs."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)
    return reader, writer


def _become(
    arguments: Sequence[str],
    folder: Path,
    before: Callable[[], None] | None,
    after: Callable[[], None] | None,
    ends: list[int],
) -> None:
    """Turn into the command line; this never returns."""
    code = 71  # EX_OSERR: the attempt itself failed
    try:
        for number, end in enumerate(ends, 1):
            os.dup2(end, number)
        os.chdir(folder)
        sys.argv = ["harness", *arguments]
        if before:
            before()
        from harness.__main__ import run

        code = run()
        if after:
            after()
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _read(end: int) -> str:
    with open(end, "rb") as pipe:
        return pipe.read().decode("utf-8", "backslashreplace")


def preload(arguments: Sequence[str], folder: Path) -> None:
    """Import what a command line imports, so that forks have it."""
    import_path.settle()
    reader, writer = wide_pipe()
    attempt(arguments, folder, after=lambda: void(os.write(writer, "\n".join(sys.modules).encode())))
    os.close(writer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in _read(reader).split():
            with contextlib.suppress(Exception):  # modules that something made on the spot
                importlib.import_module(name)


def void(_: object) -> None:
    """Nothing, of a value that nobody needs."""
