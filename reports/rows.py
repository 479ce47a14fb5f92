"""The rows of a run's files: how one is signed when it is written, and what is wrong with one that is read.

The harness writes and reads by these rules and the report reads by them, so that neither takes a row for what it is
not: one that was edited or damaged, or that belongs to another trial.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.json_lines import lines

CHECKSUM = "checksum"
SIGNED = "signed_rows"  # in manifest.json: every row of the run has had its checksum from the first one on


@dataclass(frozen=True)
class Read:
    """A complete line of a file.

    Attributes:
        number: of the line, from 1.
        line: as it was read, its newline included.
        row: what it holds, without the checksum; None where it holds no row.
        signed: whether it had a checksum.
        fault: what is wrong with it, in words; None where nothing is.
    """

    number: int
    line: bytes
    row: dict[str, Any] | None
    signed: bool = False
    fault: str | None = None


def place_of(path: Path) -> str:
    """Where a file's rows stand, which their checksums cover: "records/TRIAL", whatever the run's own folder."""
    return f"{path.parent.name}/{path.stem}"


def signed(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The row with its checksum: the first 16 hex digits of the SHA-256 of its place and its content as sorted JSON."""
    content = {name: value for name, value in row.items() if name != CHECKSUM}
    text = json.dumps([place, content], sort_keys=True)
    return {**content, CHECKSUM: hashlib.sha256(text.encode()).hexdigest()[:16]}


def read(
    path: Path, must_be_signed: bool = False, place: str | None = None, texts: tuple[str, ...] = ("key",)
) -> Iterator[Read]:
    """Every complete line of a file of rows, in order; a torn last one, which a kill leaves, is none.

    A row without a checksum is taken as an earlier version of the harness wrote it, but not after one that has a
    checksum.

    Args:
        must_be_signed: rows without a checksum are taken nowhere.
        place: where the rows stand; None: the file's own (`place_of`).
        texts: the fields that every row has, each a text.
    """
    if not path.exists():
        return
    place = place_of(path) if place is None else place
    for line in lines(path):
        if not line.is_whole:
            return
        row = line.row
        if row is None:
            yield Read(line.number, line.raw, None, fault="not a JSON object")
            continue
        given = row.pop(CHECKSUM, None)
        if given is None:
            fault = "without its checksum" if must_be_signed else _fault(row, texts)
        elif given != signed(row, place)[CHECKSUM]:
            fault = "not what was written there: its checksum differs"
        else:
            must_be_signed, fault = True, _fault(row, texts)
        yield Read(line.number, line.raw, row, given is not None, fault)


def is_signed(run: Path) -> bool:
    """Whether a run's manifest says that no row of it was ever written without a checksum."""
    try:
        return json.loads((run / "manifest.json").read_text(encoding="utf-8")).get(SIGNED) is True
    except (OSError, ValueError, AttributeError):
        return False


def _fault(row: Mapping[str, Any], texts: tuple[str, ...]) -> str | None:
    """What no writer writes. A score or a figure that is NaN is none here: it is missing, and counted as that."""
    for name in texts:
        if not isinstance(row.get(name), str):
            return f"a row without '{name}'"
    if not isinstance(row.get("response", ""), str):
        return "a record whose 'response' is no text"
    if not isinstance(row.get("scores", {}), dict):
        return "'scores' that are no table of numbers"
    preference = row.get("preference")
    if preference is not None and not (_is_number(preference) and 1 <= preference <= 2):
        return f"a preference of {preference!r:.40}, which lies between 1 and 2"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
