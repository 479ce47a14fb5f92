"""Files of JSON objects, one a line: how they are parsed, and what is wrong with a line that holds none."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Line:
    """A line of a file.

    Attributes:
        number: of the line, from 1.
        raw: as it was read, its newline included; a last line without one may be torn.
        row: the object that it holds; None where it holds none.
        fault: what is wrong with it, in words; None where nothing is.
    """

    number: int
    raw: bytes
    row: dict[str, Any] | None
    fault: str | None = None

    @property
    def is_whole(self) -> bool:
        return self.raw.endswith(b"\n")


def lines(path: Path) -> Iterator[Line]:
    """Every line of a file, in order, blank ones too; the file is read as the lines are taken.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                row = json.loads(raw)
            except (ValueError, RecursionError) as error:
                yield Line(number, raw, None, f"not JSON ({error})")
                continue
            if isinstance(row, dict):
                yield Line(number, raw, row)
            else:
                yield Line(number, raw, None, "not a JSON object")
