"""A run's folder: where its files lie, what is done in it, and that one sweep at a time writes there."""

import errno
import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from harness.errors import UserError
from harness.records.kept import KeptRows
from harness.records.rows import SignedLines
from harness.trials.trial import Trial
from reports.rows import is_signed
from reports.whole_file import replace


class RunFolder:
    """``runs/NAME``.

    Args:
        path: the folder; it is made by ``open``.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path).expanduser()
        self._lock: IO | None = None
        self._kept = KeptRows()

    def open(self) -> None:
        """Make the folder and take it for this process.

        Raises:
            UserError: it cannot be written, or another sweep is writing there.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / ".lock", "ab", opener=_not_followed)  # noqa: SIM115
        except OSError as error:
            why = "its .lock is a symbolic link" if error.errno == errno.ELOOP else error.strerror
            raise UserError(
                f"run_dir={self.path}: cannot be written ({why}); choose another with run_dir=PATH"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            if isinstance(error, BlockingIOError):
                said = "another sweep is writing there; wait for it, or choose another name=NAME"
            else:
                said = f"cannot be locked ({error.strerror}); choose a folder on another file system with run_dir=PATH"
            raise UserError(f"run_dir={self.path}: {said}") from None
        for left_behind in self.path.rglob(".*.part"):  # by a sweep that was killed
            left_behind.unlink(missing_ok=True)

    def close(self) -> None:
        """Let another sweep have the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def report(self) -> Path:
        return self.path / "report"

    def records(self, trial: str) -> SignedLines:
        return self._rows("records", trial)

    def scores(self, trial: str) -> SignedLines:
        return self._rows("scores", trial)

    def judgements(self, trial: str) -> SignedLines:
        return self._rows("judgements", trial)

    def _rows(self, kind: str, trial: str) -> SignedLines:
        return SignedLines(self.path / kind / f"{trial}.jsonl", must_be_signed=is_signed(self.path), kept=self._kept)

    def rows(self, lines: SignedLines, last: bool = False) -> dict[str, dict]:
        """key -> the first row with that key; ``last``: the last one, for scores and judgements, made anew at need.

        Raises:
            UserError: a bad row, with file and line.
        """
        found: dict[str, dict] = {}
        try:
            for row in lines:
                if last or row["key"] not in found:
                    found[row["key"]] = row
        except ValueError as error:
            raise UserError(str(error)) from None
        return found

    def add_trials(self, trials: Iterable[tuple[Trial, bool]]) -> None:
        """Write the files of trials that have none yet, as (trial, selected); what an earlier sweep chose stands until
        this one is complete."""
        for trial, selected in trials:
            if not self._trial(trial).exists():
                self._write_trial(trial, selected)

    def write_trials(self, trials: Iterable[tuple[Trial, bool]]) -> None:
        """Make ``trials/`` hold exactly these (trial, selected); the records of others stay, their trial files go."""
        wanted = set()
        for trial, selected in trials:
            wanted.add(self._trial(trial))
            self._write_trial(trial, selected)
        for file in (self.path / "trials").glob("*.json"):
            if file not in wanted:
                file.unlink()

    def _trial(self, trial: Trial) -> Path:
        return self.path / "trials" / f"{trial.id}.json"

    def _write_trial(self, trial: Trial, selected: bool) -> None:
        write_text(self._trial(trial), json.dumps(trial.row(selected), indent=2, ensure_ascii=False) + "\n")


def _not_followed(path: str, flags: int) -> int:
    """Not where a symbolic link leads: what lies there is not ours."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all; a file that already holds the text is left as it is."""
    if path.exists() and path.read_bytes() == text.encode():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, text.encode())
