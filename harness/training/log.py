"""What a training shows and keeps of its way: a bar with loss, rate and time left, and a CSV of every step."""

import csv
import sys
import time
from pathlib import Path

from harness.records.progress import duration
from harness.records.run_folder import write_text

COLUMNS = ("stage", "step", "total", "loss", "steps_per_second", "seconds")
EVERY = 10.0  # seconds from one line to the next where there is no terminal


class Log:
    """Progress of named stages on standard error, and in a CSV file.

    A training that goes on from a checkpoint repeats the steps after it: their earlier lines are replaced.

    Args:
        path: the CSV file.
    """

    def __init__(self, path: Path):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.path = path
        console = Console(file=sys.stderr)
        self.is_terminal = console.is_terminal
        self.bars = Progress(
            TextColumn("{task.description:>8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  {task.fields[rate]}  left"),
            TimeRemainingColumn(),
            console=console,
            disable=not self.is_terminal,
        )
        self._tasks: dict[str, int] = {}
        self._began: dict[str, tuple[float, int]] = {}
        self._said = 0.0

    def __enter__(self) -> "Log":
        self.bars.start()
        return self

    def __exit__(self, *_) -> None:
        self.bars.stop()

    def step(self, stage: str, step: int, total: int, loss: float | None) -> None:
        """Report a step of a stage: ``guiders.training.schedule.Progress``."""
        now = time.perf_counter()
        if stage not in self._began:
            self._began[stage] = (now, step - 1)
            self._forget(stage, step)
            self._tasks[stage] = self.bars.add_task(stage, total=total, loss="-", rate="-")
        began, before = self._began[stage]
        seconds = now - began
        rate = (step - before) / seconds if seconds > 0 else 0.0
        shown = "-" if loss is None else f"{loss:.4f}"
        with self.path.open("a", encoding="utf-8", newline="") as lines:
            csv.writer(lines).writerow(
                [stage, step, total, "" if loss is None else f"{loss:.6g}", f"{rate:.4g}", f"{seconds:.3f}"]
            )
        self.bars.update(self._tasks[stage], completed=step, total=total, loss=shown, rate=f"{rate:.1f} steps/s")
        if not self.is_terminal and (now - self._said > EVERY or step == total):
            self._said = now
            left = duration((total - step) / rate) if rate else "?"
            line = f"{stage}: step {step} of {total}, loss {shown}, {rate:.1f} steps/s, {left} left"
            print(line, file=sys.stderr, flush=True)

    def _forget(self, stage: str, step: int) -> None:
        """Begin the file, or drop the lines of this stage from this step on, a torn last line included."""
        kept = []
        if self.path.exists():
            with self.path.open(encoding="utf-8", newline="") as lines:
                rows = [row for row in csv.reader(lines) if len(row) == len(COLUMNS)][1:]
            kept = [row for row in rows if row[0] != stage or int(row[1]) < step]
        write_text(self.path, "\r\n".join(",".join(row) for row in [COLUMNS, *kept]) + "\r\n")
