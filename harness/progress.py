"""How far a sweep is: a bar on a terminal, else one line per trial."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


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
        )
        with Bar(*columns, console=Console(file=self.stream)) as self._bar:
            self._task = self._bar.add_task(name, total=samples)
            try:
                yield
            finally:
                self._bar = None

    @contextmanager
    def trial(self, label: str, place: str) -> Iterator[None]:
        """One trial; ``place`` is its number, as in ``3/17``."""
        if self._bar is not None:
            self._bar.update(self._task, description=f"{place} {label}")
        began = time.perf_counter()
        yield
        if self._bar is None:
            print(f"{place} {label}: {time.perf_counter() - began:.1f} s", file=self.stream, flush=True)

    def advance(self, samples: int) -> None:
        """So many samples were decoded and recorded."""
        if self._bar is not None:
            self._bar.advance(self._task, samples)


class Bars:
    """One bar per stage of a training on a terminal; elsewhere a line when a stage is done.

    Args:
        title: what is being made.
    """

    def __init__(self, title: str, stream: TextIO | None = None):
        self.title, self.stream = title, stream or sys.stderr
        self._bar = None
        self._stages: dict[str, Any] = {}
        self._began = time.perf_counter()

    def __enter__(self) -> "Bars":
        print(self.title, file=self.stream, flush=True)
        if self.stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            numbers = (TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn(), TimeRemainingColumn())
            self._bar = Bar(TextColumn("{task.description}"), BarColumn(), *numbers, console=Console(file=self.stream))
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, stage: str, step: int, total: int, loss: float | None = None) -> None:
        """A stage has done so many steps of all; ``loss`` is shown where it is known."""
        text = stage if loss is None else f"{stage} (loss {loss:.2f})"
        if self._bar is not None:
            if stage not in self._stages:
                self._stages[stage] = self._bar.add_task(stage, total=total)
            self._bar.update(self._stages[stage], completed=step, total=total, description=text)
        elif step >= total and stage not in self._stages:
            self._stages[stage] = None
            print(f"  {text}: done after {duration(time.perf_counter() - self._began)}", file=self.stream, flush=True)


def duration(seconds: float) -> str:
    """Seconds in words: "45 s", "3 min 20 s", "2 h 5 min"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
