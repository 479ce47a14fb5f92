"""What a training shows and keeps of its steps: the display, and a CSV file with a line for each."""

import csv
from pathlib import Path

from harness.progress import Display, Pace
from harness.records.run_folder import write_text

COLUMNS = ("stage", "step", "total", "loss", "steps_per_second", "seconds")


class Log:
    """Progress of named stages on standard error, and in a CSV file.

    A training that goes on from a checkpoint repeats the steps after it: their earlier lines are replaced.

    Args:
        path: the CSV file.
    """

    def __init__(self, path: Path):
        self.path, self.display = path, Display()
        self._pace: dict[str, Pace] = {}

    def __enter__(self) -> "Log":
        self.display.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.display.__exit__(*error)

    def step(self, stage: str, step: int, total: int, loss: float | None) -> None:
        """Report a step of a stage: ``guiders.training.schedule.Progress``."""
        if stage not in self._pace:
            self._pace[stage] = Pace(step)
            self._forget(stage, step)
        seconds, rate = self._pace[stage].at(step)
        shown = "" if loss is None else f"{loss:.6g}"
        with self.path.open("a", encoding="utf-8", newline="") as lines:
            csv.writer(lines).writerow([stage, step, total, shown, f"{rate:.4g}", f"{seconds:.3f}"])
        self.display.step(stage, step, total, loss)

    def _forget(self, stage: str, step: int) -> None:
        """Begin the file, or drop the lines of this stage from this step on, a torn last line included."""
        kept = []
        if self.path.exists():
            with self.path.open(encoding="utf-8", newline="") as lines:
                rows = [row for row in csv.reader(lines) if len(row) == len(COLUMNS)][1:]
            kept = [row for row in rows if row[0] != stage or int(row[1]) < step]
        write_text(self.path, "\r\n".join(",".join(row) for row in [COLUMNS, *kept]) + "\r\n")
