"""The figures as they come: one JSON line for each step of each stage, on the disk before the next step begins."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from harness.errors import UserError

HEADER = "machine"


class Results:
    """A file of JSON lines: the machine and the settings first, then a line for each step.

    Args:
        path: an existing file is continued. header: what was measured on, and how.

    Raises:
        UserError: the file is of another machine or of other settings, or is no such file.
    """

    def __init__(self, path: Path, header: dict):
        self.path, self.lines = path, []
        if path.exists():
            self.lines = list(_whole_lines(path))
            if self.lines and {**self.lines[0], "date": None} != {"stage": HEADER, **header, "date": None}:
                raise UserError(f"{path}: made on another machine or with other settings; give another --out")
        if not self.lines:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.write(HEADER, None, header)

    def of(self, stage: str) -> dict[str, dict]:
        """The lines of a stage by their steps; of a step that was run again, the last."""
        return {line["step"]: line for line in self.lines if line["stage"] == stage}

    def write(self, stage: str, step: str | None, figures: dict) -> None:
        """Append a line, and have it on the disk."""
        line = {"stage": stage, **({"step": step} if step else {}), **figures}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.lines.append(json.loads(json.dumps(line)))


def _whole_lines(path: Path) -> Iterator[dict]:
    """The lines of a file; one that was cut off in the middle of being written is removed from it."""
    text = path.read_text(encoding="utf-8")
    whole, end, torn = text.rpartition("\n")
    if torn:
        path.write_text(whole + end, encoding="utf-8")
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or "stage" not in row:
            raise UserError(f"{path}:{number}: not a line of benchmarks.gpu; give another --out")
        yield row
