"""Functions in processes of their own, side by side: each has one thread, and none outlives who started it."""

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from pathlib import Path
from types import ModuleType
from typing import Any

from harness import import_path

Event = tuple[Any, ...]

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONSAFEPATH": "1"}
EVERY = 0.1  # seconds from one look at the events to the next

_events: "Queue[Event]"  # in a worker: where its progress goes


class WorkerFailed(RuntimeError):
    """A function failed, or its process ended; the message is one line."""


def side_by_side(
    functions: Mapping[str, Callable[..., None]], arguments: tuple[Any, ...], log: Path, progress: Callable[..., None]
) -> None:
    """Call every function with the arguments and a function for its progress, each in a process of its own.

    Args:
        functions: name -> function of a module; the name is for messages.
        arguments: what all of them are given, to be pickled.
        log: where what they print goes.
        progress: called here with what the functions report.

    Raises:
        WorkerFailed: the first failure; the others are ended at once.
    """
    context = get_context("spawn")
    events: Queue[Event] = context.Queue()
    held, lifeline = context.Pipe(duplex=False)
    with held, lifeline:
        with ProcessPoolExecutor(len(functions), context, _begin, (held, events, log)) as pool:
            try:
                with _start():
                    futures = {pool.submit(_call, each, arguments): name for name, each in functions.items()}
                _wait(futures, events, log, progress)
            except BaseException:
                lifeline.close()
                raise
        _relay(events, progress)


def _wait(futures: dict[Future[None], str], events: "Queue[Event]", log: Path, progress: Callable[..., None]) -> None:
    running = set(futures)
    while running:
        done, running = wait(running, timeout=EVERY, return_when=FIRST_EXCEPTION)
        _relay(events, progress)
        for future in done:
            try:
                future.result()
            except BrokenProcessPool:
                raise WorkerFailed(f"{futures[future]}: its process ended: {_last_line(log)}") from None
            except Exception as error:
                said = (str(error).strip().splitlines() or [""])[0]
                raise WorkerFailed(f"{futures[future]}: {type(error).__name__}: {said}") from error


def _relay(events: "Queue[Event]", progress: Callable[..., None]) -> None:
    while True:
        try:
            event = events.get_nowait()
        except queue.Empty:
            return
        progress(*event)


def _last_line(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return (text.strip().splitlines() or ["no message"])[-1]


@contextmanager
def _start() -> Iterator[None]:
    """What processes that are started meanwhile inherit: threads, import path, and nothing of the caller's script.

    A spawned process imports its parent's main module, which would run again a script that has no guard for that.
    """
    main, before = sys.modules["__main__"], {name: os.environ.get(name) for name in ENVIRONMENT}
    sys.modules["__main__"] = ModuleType("__main__")
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _begin(held: Connection, events: "Queue[Event]", log: Path) -> None:
    """In a worker, before its first function."""
    global _events
    threading.Thread(target=_end_with, args=(held,), daemon=True).start()
    import_path.settle()
    _events = events
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _end_with(held: Connection) -> None:
    """End this process when the other end of the pipe is closed, by the parent or by the parent's death."""
    try:
        held.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


def _call(function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    import torch

    torch.set_num_threads(1)
    function(*arguments, _report)


def _report(*event: Any) -> None:
    _events.put(event)
