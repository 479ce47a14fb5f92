"""The files of a trial's rows: signed when written, held to their checksums when read."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.records.lines import Lines
from reports.rows import Read, place_of, read, signed


class SignedLines(Lines):
    """``records/TRIAL.jsonl``, ``scores/TRIAL.jsonl`` or ``judgements/TRIAL.jsonl`` (see `reports.rows`).

    Args:
        path: the file.
        must_be_signed: whether a row without a checksum is a bad one.
    """

    def __init__(self, path: str | os.PathLike, must_be_signed: bool = False):
        super().__init__(path)
        self.must_be_signed = must_be_signed

    def __iter__(self) -> Iterator[dict]:
        """The complete rows without their checksums, in the order they were written.

        Raises:
            ValueError: a bad row, with file and line.
        """
        for found in self.read():
            if found.fault or found.row is None:
                mend = "run the sweep again, which sets the row aside and makes it anew"
                raise ValueError(f"{self.path}:{found.number}: {found.fault}; {mend}")
            yield found.row

    def read(self) -> Iterator[Read]:
        """The complete lines, good and bad."""
        return read(self.path, self.must_be_signed)

    def append(self, rows: Iterable[dict]) -> None:
        """Sign the rows, write them in one go and flush them to the disk."""
        super().append(_signed(rows, self.path))

    @property
    def rejected(self) -> Lines:
        """Bad rows, each with its line as it was read, its number and what is wrong with it."""
        return Lines(self.path.with_suffix(".rejected.jsonl"))

    def reject(self, bad: Iterable[Read]) -> None:
        """Move lines of the file to ``rejected``: written there first, so that no kill loses any."""
        numbers = {found.number: found for found in bad}
        if not numbers:
            return
        self.rejected.append(
            {"line": number, "fault": found.fault, "text": found.line.decode(errors="backslashreplace").rstrip("\n")}
            for number, found in numbers.items()
        )
        part = self.path.with_name(f".{self.path.name}.part")
        with part.open("wb") as file:
            file.writelines(found.line for found in self.read() if found.number not in numbers)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self.path)


def as_text(path: Path, rows: Iterable[dict]) -> str:
    """A whole file's text, its rows signed."""
    return "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in _signed(rows, path))


def _signed(rows: Iterable[dict], path: Path) -> Iterator[dict]:
    place = place_of(path)
    # through JSON first, as it will be read: tuples are lists then, and keys are texts
    return (signed(json.loads(json.dumps(row)), place) for row in rows)
