"""A user's JSON-lines file, read row by row."""

import json
from collections.abc import Iterator
from pathlib import Path

from harness.errors import UserError


def objects(path: Path) -> Iterator[tuple[str, dict]]:
    """(place, row) of every line that is not blank; the place is FILE:LINE.

    Raises:
        UserError: a line that is not JSON in UTF-8, or not an object, or that holds half of a surrogate pair.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(f"{path}:{number}: not JSON ({error}); mend or remove the line") from None
            if not isinstance(row, dict):
                raise UserError(f"{path}:{number}: not a JSON object; write one object per line")
            # a half that JSON escapes, or that was written as if it were UTF-8
            if (b"\\u" in line or b"\xed" in line) and _is_broken(row):
                raise UserError(f"{path}:{number}: holds half of a surrogate pair, which is no text; mend the line")
            yield f"{path}:{number}", row


def _is_broken(row: dict) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False
