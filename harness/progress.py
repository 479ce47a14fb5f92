"""How far a run is: bars on a terminal, else lines. Sweeps, judges and trainings show themselves by it."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import TaskID

EVERY = 10.0  # seconds from one line to the next of a training that no terminal shows


class Display:
    """The progress of one process.

    A sweep counts samples (`stage`, `begin`, `advance`, `done`). A training counts the steps of named stages within
    ``with display:`` (`step`).

    Args:
        stream: where it is written, standard error by default; bars if that is a terminal.
    """

    def __init__(self, stream: TextIO | None = None):
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.stream = stream or sys.stderr
        self.has_bars = self.stream.isatty()
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[more]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(file=self.stream),
            disable=not self.has_bars,
        )
        self._stage: TaskID | None = None
        self._steps: dict[str, tuple[TaskID, Pace]] = {}
        self._said = 0.0

    def __enter__(self) -> "Display":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def say(self, line: str) -> None:
        """A line that stays, above the bars where there are any."""
        if self.has_bars:
            self._bars.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=self.stream, flush=True)

    @contextmanager
    def stage(self, name: str, samples: int) -> Iterator[None]:
        """A stage of so many samples to decode, or to judge."""
        with self:
            self._stage = self._bars.add_task(name, total=samples, more="")
            try:
                yield
            finally:
                self._bars.stop()
                self._bars.remove_task(self._stage)  # the next stage draws its own bar alone
                self._stage = None

    def begin(self, label: str) -> None:
        """A trial begins."""
        if self._stage is not None:
            self._bars.update(self._stage, description=label)

    def advance(self, samples: int, more: str = "") -> None:
        """So many samples of the stage are recorded. more: what is shown beside the bar, as the workers' speed."""
        if self._stage is not None:
            self._bars.update(self._stage, advance=samples, more=more)

    def done(self, label: str, seconds: float) -> None:
        """A trial is decoded and scored."""
        if not self.has_bars:
            self.say(f"{label}: {seconds:.1f} s")

    def step(self, stage: str, step: int, total: int, loss: float | None) -> None:
        """A step of a training: ``guiders.training.schedule.Progress``."""
        if stage not in self._steps:
            self._steps[stage] = self._bars.add_task(stage, total=total, more=""), Pace(step)
        task, pace = self._steps[stage]
        _, rate = pace.at(step)
        more = ("" if loss is None else f"loss {loss:.4f}, ") + f"{rate:.1f} steps/s"
        self._bars.update(task, completed=step, total=total, more=more)
        now = time.perf_counter()
        if not self.has_bars and (now - self._said > EVERY or step == total):
            self._said = now
            left = duration((total - step) / rate) if rate else "?"
            self.say(f"{stage}: step {step} of {total}, {more}, {left} left")


class Pace:
    """How fast the steps of a training follow each other.

    Args:
        first: number of the first step that is seen: later than 1 where a training goes on.
    """

    def __init__(self, first: int):
        self._began, self._before = time.perf_counter(), first - 1

    def at(self, step: int) -> tuple[float, float]:
        """Seconds since the first step that was seen, and steps per second."""
        seconds = time.perf_counter() - self._began
        return seconds, (step - self._before) / seconds if seconds > 0 else 0.0


def duration(seconds: float) -> str:
    """Seconds in words: "45 s", "3 min 20 s", "2 h 5 min"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
