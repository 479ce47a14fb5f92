"""Append-only files of JSON lines: the run's memory, safe to kill at any moment."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from reports.json_lines import lines


class Lines:
    """One append-only ``.jsonl`` file.

    A process can be killed in the middle of a write, so the last line may be torn: it is not read, and it is cut off
    before the next append. Every append is flushed to the disk before it returns.

    Args:
        path: the file; its folder is made on the first append.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)

    def __iter__(self) -> Iterator[dict]:
        """The complete rows, in the order they were written.

        Raises:
            ValueError: a complete line that is no JSON object (a damaged disk or an edit by hand), with file and line.
        """
        if not self.path.exists():
            return
        for line in lines(self.path):
            if not line.is_whole:
                return
            if line.row is None:
                raise ValueError(f"{self.path}:{line.number}: {line.fault}; remove the line and run again")
            yield line.row

    def append(self, rows: Iterable[dict]) -> None:
        """Write the rows in one go and flush them to the disk."""
        data = b"".join(json.dumps(row, ensure_ascii=False, sort_keys=True).encode() + b"\n" for row in rows)
        if not data:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            self._cut_torn_line(file)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    @staticmethod
    def _cut_torn_line(file: IO[bytes]) -> None:
        end = file.seek(0, os.SEEK_END)
        if end == 0:
            return
        file.seek(end - 1)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.seek(0, os.SEEK_END)
