"""What a process does to the files of a folder, one event after another: each can be listed, be its last, or fail.

Opening, renaming, removing and making folders are seen by Python's audit hooks, before they happen; writing, flushing
to the disk and locking by functions put in their places. Nothing of the harness is replaced.
"""

import builtins
import fcntl
import io
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.torture.attempt import void

AUDITED = {"os.rename": "rename", "os.remove": "remove", "os.mkdir": "mkdir", "os.rmdir": "rmdir"}
KINDS = ("read", "open", "write", "sync", "lock", *AUDITED.values())


@dataclass(frozen=True)
class Event:
    """Something that is about to happen to a file.

    Attributes:
        kind: one of ``KINDS``; "open" is for writing, "read" for reading.
        half: writes the first half of what is being written; None for what is no write.
    """

    kind: str
    path: str
    half: Callable[[], None] | None = None


Act = Callable[[Event], None]


def listed(to: int) -> Act:
    """Write the kind of every event to a file descriptor, a line each."""
    return lambda event: void(os.write(to, f"{event.kind}\n".encode()))


def killed_at(number: int) -> Act:
    """SIGKILL to this process at an event, from 0; in the middle of it where it is a write."""
    seen = iter(range(number + 1))

    def act(event: Event) -> None:
        if next(seen, None) == number:
            if event.half:
                event.half()
            os.kill(os.getpid(), signal.SIGKILL)

    return act


def failing_at(kind: str, number: int, error: int, lasting: bool) -> Act:
    """An ``OSError`` in place of an event of a kind, from 0; ``lasting``: in place of all such events from there on.

    A write that fails has written its first half, as on a disk that becomes full.
    """
    seen = 0

    def act(event: Event) -> None:
        nonlocal seen
        if event.kind != kind:
            return
        place, seen = seen, seen + 1
        if place == number or (lasting and place > number):
            if event.half and place == number:
                event.half()
            raise OSError(error, os.strerror(error), event.path)

    return act


def install(folder: Path, act: Act) -> None:
    """Call ``act`` before every event below a folder, in this process and for its whole life."""
    root, busy = os.path.abspath(folder), False

    def happens(kind: str, path: Any, half: Callable[[], None] | None = None) -> None:
        nonlocal busy
        if busy or not isinstance(path, (str, os.PathLike)):
            return
        busy = True
        try:
            if os.path.abspath(path).startswith(root):
                act(Event(kind, os.fspath(path), half))
        finally:
            busy = False

    def audit(name: str, arguments: tuple) -> None:
        if name == "open":
            writes = (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            happens("open" if writes else "read", arguments[0])
        elif name in AUDITED:
            happens(AUDITED[name], arguments[0])

    def sync(number: int) -> None:
        happens("sync", os.readlink(f"/proc/self/fd/{number}"))
        real_sync(number)

    def lock(file: Any, operation: int) -> None:
        number = file if isinstance(file, int) else file.fileno()
        happens("lock", os.readlink(f"/proc/self/fd/{number}"))
        real_lock(file, operation)

    def opened(file: Any, mode: str = "r", *args: Any, **more: Any) -> Any:
        found = real_open(file, mode, *args, **more)
        return _Written(found, file, happens) if set(mode) & set("wax+") else found

    real_sync, real_lock, real_open = os.fsync, fcntl.flock, io.open
    os.fsync, fcntl.flock = sync, lock  # type: ignore[assignment]
    io.open = builtins.open = opened  # type: ignore[assignment]
    sys.addaudithook(audit)


class _Written:
    """A file whose writes are events."""

    def __init__(self, file: Any, path: Any, happens: Callable[..., None]):
        self._file, self._path, self._happens = file, path, happens

    def write(self, data: Any) -> int:
        def half() -> None:
            self._file.write(data[: len(data) // 2])
            self._file.flush()

        self._happens("write", self._path, half)
        return self._file.write(data)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "_Written":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Any:
        return iter(self._file)
