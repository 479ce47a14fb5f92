"""A user's JSON-lines file, read row by row."""

import json
from collections.abc import Iterator
from pathlib import Path

from harness.errors import UserError
from reports.json_lines import lines


def objects(path: Path) -> Iterator[tuple[str, dict]]:
    """(place, row) of every line that is not blank; the place is FILE:LINE.

    Raises:
        UserError: a line that is not JSON in UTF-8, or not an object, or that holds half of a surrogate pair.
    """
    for line in lines(path):
        if not line.raw.strip():
            continue
        place = f"{path}:{line.number}"
        if line.row is None:
            remedy = "write one object per line" if line.fault == "not a JSON object" else "mend or remove the line"
            raise UserError(f"{place}: {line.fault}; {remedy}")
        # a half that JSON escapes, or that was written as if it were UTF-8
        if (b"\\u" in line.raw or b"\xed" in line.raw) and _is_broken(line.row):
            raise UserError(f"{place}: holds half of a surrogate pair, which is no text; mend the line")
        yield place, line.row


def _is_broken(row: dict) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False
