"""The files of a trial's rows: signed when written, held to their checksums when read."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.records.kept import KeptRows
from harness.records.lines import Lines
from reports.rows import Read, place_of, read, signed
from reports.whole_file import replace


class SignedLines(Lines):
    """A file of signed rows: of records, scores, judgements, a judge's answers or the alignment tax (`reports.rows`).

    Args:
        path: the file.
        must_be_signed: whether a row without a checksum is a bad one.
        place: where the rows stand, which their checksums cover; None: folder and name of the file.
        texts: the fields that every row has, each a text.
        kept: where lines that were read before are found again; None: the file is read each time.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        must_be_signed: bool = False,
        place: str | None = None,
        texts: tuple[str, ...] = ("key",),
        kept: KeptRows | None = None,
    ):
        super().__init__(path)
        self.must_be_signed, self.place, self.texts = must_be_signed, place or place_of(self.path), texts
        self.kept = kept

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
        if self.kept is None:
            yield from self._parsed()
        else:
            yield from self.kept.read(self.path, (self.must_be_signed, self.place, self.texts), self._parsed)

    def _parsed(self) -> Iterator[Read]:
        return read(self.path, self.must_be_signed, self.place, self.texts)

    def append(self, rows: Iterable[dict]) -> None:
        """Sign the rows, write them in one go and flush them to the disk."""
        super().append(_signed(rows, self.place))

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
        replace(self.path, b"".join(found.line for found in self.read() if found.number not in numbers), sync=True)


def as_text(path: Path, rows: Iterable[dict]) -> str:
    """A whole file's text, its rows signed."""
    return "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in _signed(rows, place_of(path)))


def _signed(rows: Iterable[dict], place: str) -> Iterator[dict]:
    # through JSON first, as it will be read: tuples are lists then, and keys are texts
    return (signed(json.loads(json.dumps(row)), place) for row in rows)
