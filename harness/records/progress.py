"""How far a sweep is: a bar on a terminal, else one line per trial."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class Progress:
    """Counts new samples of a sweep and says how much time is left.

    Args:
        stream: where it is written; a bar if that is a terminal.
    """

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stdout
        self._bar = None
        self._task = None

    @contextmanager
    def stage(self, name: str, samples: int) -> Iterator[None]:
        """A stage of so many samples to decode."""
        if not self.stream.isatty():
            yield
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}"),
        )
        with Bar(*columns, console=Console(file=self.stream)) as self._bar:
            self._task = self._bar.add_task(name, total=samples, status="")
            try:
                yield
            finally:
                self._bar = None

    def begin(self, label: str) -> None:
        """A trial begins."""
        if self._bar is not None:
            self._bar.update(self._task, description=label)

    def done(self, label: str, seconds: float) -> None:
        """A trial is decoded and scored."""
        if self._bar is None:
            print(f"{label}: {seconds:.1f} s", file=self.stream, flush=True)

    def say(self, line: str) -> None:
        """A line that stays, above the bar where there is one."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=self.stream, flush=True)

    def status(self, text: str) -> None:
        """What the workers are at, behind the bar."""
        if self._bar is not None and text:
            self._bar.update(self._task, status=text)

    def advance(self, samples: int) -> None:
        """So many samples were decoded and recorded."""
        if self._bar is not None:
            self._bar.advance(self._task, samples)


def duration(seconds: float) -> str:
    """Seconds in words: "45 s", "3 min 20 s", "2 h 5 min"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
