"""The judge's answers on disk: asked once, paid once."""

import hashlib
import json
import os
from collections.abc import Iterable

from harness.errors import UserError
from harness.records.lines import Lines

Key = tuple[str, str, str]


def request_hash(body: dict) -> str:
    """SHA-256 of a request: the prompt, with the instruction and both outputs in their order, and the settings."""
    asked = {name: value for name, value in body.items() if name != "model"}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


class Answers:
    """The append-only file of a judge's answers, the last row of a key counting.

    A row is {"model", "base_url", "request" (see `request_hash`), "annotator", "choice" (the answer as the server sent
    it, null where there was none), "reason" (why it gives no preference; null where it does), "usage" (tokens),
    "seconds", "date"}.

    Args:
        path: the ``.jsonl`` file.
        secret: a text that is never to reach the file, the key.

    Raises:
        UserError: a line in the file that is not such a row.
    """

    def __init__(self, path: str | os.PathLike, secret: str | None = None):
        self.lines = Lines(path)
        self._secret = secret
        try:
            self.rows: dict[Key, dict] = {self.key(row): row for row in self.lines}
        except (KeyError, TypeError):
            raise UserError(f"{path}: a row that is no judge's answer; remove it and run again") from None
        except ValueError as error:
            raise UserError(str(error)) from None

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


def redact(value, secret: str | None):
    """The text, or the JSON value, without the secret."""
    if not secret:
        return value
    if isinstance(value, str):
        return value.replace(secret, "[redacted]")
    text = json.dumps(value)
    hidden = json.dumps(secret)[1:-1]
    return json.loads(text.replace(hidden, "[redacted]")) if hidden in text else value
