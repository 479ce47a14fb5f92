"""The judge's answers on disk: asked once, paid once."""

import hashlib
import json
import os
from collections.abc import Iterable
from typing import Any

from harness.errors import UserError
from harness.records.rows import SignedLines

Key = tuple[str, str, str]
PLACE = "answers"  # wherever the file lies, and whatever it is called


def request_hash(body: dict) -> str:
    """SHA-256 of a request: the prompt, with the instruction and both outputs in their order, and the settings."""
    asked = {name: value for name, value in body.items() if name != "model"}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


class Answers:
    """The append-only file of a judge's answers, the last row of a key counting.

    A row is {"model", "base_url", "request" (see `request_hash`), "annotator", "choice" (the answer as the server sent
    it, null where there was none), "reason" (why it gives no preference; null where it does), "usage" (tokens),
    "seconds", "date", "checksum" (see `reports.rows`; rows of before have none)}.

    Args:
        path: the ``.jsonl`` file.
        secret: a text that is never to reach the file, the key.
        mend: whether bad rows are moved to ``answers.rejected.jsonl`` beside the file, so that they are asked again.

    Attributes:
        set_aside: a line of text for every bad row that was moved.

    Raises:
        UserError: a bad row, with file and line, where none may be moved.
    """

    def __init__(self, path: str | os.PathLike, secret: str | None = None, mend: bool = False):
        self.lines = SignedLines(path, place=PLACE, texts=("model", "base_url", "request"))
        self._secret = secret
        found = list(self.lines.read())
        bad = [read for read in found if read.fault or not {"choice", "reason"} <= (read.row or {}).keys()]
        told = [f"{path}:{read.number}: {read.fault or 'not an answer'}" for read in bad]
        if bad and not mend:
            raise UserError(f"{told[0]}; judge again with judge=openai, which sets the row aside and asks anew")
        self.lines.reject(bad)
        self.set_aside = [f"warning: {line}; set aside in {self.lines.rejected.path.name}" for line in told]
        self.rows: dict[Key, dict] = {
            self.key(read.row): read.row for read in found if read.row is not None and read not in bad
        }

    @staticmethod
    def key(row: dict) -> Key:
        """The judge's model, its base URL and the request."""
        return row["model"], row["base_url"], row["request"]

    def append(self, rows: Iterable[dict]) -> None:
        """Write the rows; they are on the disk when this returns."""
        rows = [redact(row, self._secret) for row in rows]
        self.lines.append(rows)
        self.rows.update((self.key(row), row) for row in rows)

    def usable(self, key: Key) -> dict | None:
        """The stored choice that gave a preference, or None: never asked, failed, or not parsable."""
        row = self.rows.get(key)
        return row["choice"] if row and row["reason"] is None else None


def redact(value: Any, secret: str | None) -> Any:
    """The text, or the JSON value, without the secret."""
    if not secret:
        return value
    if isinstance(value, str):
        return value.replace(secret, "[redacted]")
    text = json.dumps(value)
    hidden = json.dumps(secret)[1:-1]
    return json.loads(text.replace(hidden, "[redacted]")) if hidden in text else value
