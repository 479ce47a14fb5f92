"""Progress of named stages on standard error: bars on a terminal, else one line a stage."""

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Bars:
    """A bar for every stage, with its loss and its time left.

    Args:
        title: printed once, before the first bar.
    """

    def __init__(self, title: str):
        self.console = Console(file=sys.stderr)
        self.title = title
        self._tasks: dict[str, int] = {}
        self._bars = Progress(
            TextColumn("{task.description:>8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )

    def __enter__(self) -> "Bars":
        self.console.print(self.title, highlight=False)
        self._bars.start()
        return self

    def __exit__(self, *_) -> None:
        self._bars.stop()

    def update(self, stage: str, step: int, total: int, loss: float | None) -> None:
        """Report a step of a stage; the first report of a stage begins its bar."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total, loss="-")
            if not self.console.is_terminal:
                self.console.print(f"  {stage}: {total} steps", highlight=False)
        shown = "-" if loss is None else f"{loss:.3f}"
        self._bars.update(self._tasks[stage], completed=step, loss=shown)
