"""Setting bad rows aside before a sweep counts what it has, so that they are made anew."""

import math
from collections.abc import Iterable, Iterator

from harness.records.rows import SignedLines
from harness.records.run_folder import RunFolder
from reports.rows import Read

NAMED = 20  # bad rows that are named one by one


class RejectedRows:
    """Moves what is wrong in a run's files to ``TRIAL.rejected.jsonl`` beside them; the sweep then makes it anew.

    A row is bad where it is not what was written there, or says what none may say: a preference outside of 1 to 2, a
    score that is no finite number. Scores and judgements of a response that is gone go with it, since the next one may
    be another.

    Attributes:
        unsigned: rows without a checksum, which an earlier version wrote: changes in them are not noticed.
    """

    def __init__(self, run: RunFolder):
        self.run, self.unsigned = run, 0
        self._found: list[str] = []
        self._done: set[str] = set()

    def trials(self, trials: Iterable[tuple[str, str | None]]) -> None:
        """Hold the files of some trials to what they must be; each trial once.

        Args:
            trials: (id, id of the base's trial that it is judged against; None for the base's own).
        """
        todo = [pair for pair in trials if pair[0] not in self._done]
        for trial, _ in todo:
            for rows in (self.run.records(trial), self.run.scores(trial), self.run.judgements(trial)):
                self._reject(rows, self._bad(rows))
        for trial, baseline in todo:
            keys = self.run.rows(self.run.records(trial)).keys()
            theirs = keys if baseline is None else keys & self.run.rows(self.run.records(baseline)).keys()
            self._reject(self.run.scores(trial), _without(self.run.scores(trial), keys))
            self._reject(self.run.judgements(trial), _without(self.run.judgements(trial), theirs))
            self._done.add(trial)

    def said(self) -> Iterator[str]:
        """A line for every row that was set aside since the last call."""
        found, self._found = self._found, []
        yield from found[:NAMED]
        if len(found) > NAMED:
            yield f"warning: {self.run.path}: {len(found) - NAMED} more rows were set aside; see */*.rejected.jsonl"

    def _bad(self, rows: SignedLines) -> Iterator[Read]:
        for found in rows.read():
            self.unsigned += not found.signed and not found.fault
            values = (found.row or {}).get("scores", {})
            if found.fault:
                yield found
            elif not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values.values()):
                yield Read(found.number, found.line, found.row, found.signed, "a score that is no finite number")

    def _reject(self, rows: SignedLines, bad: Iterable[Read]) -> None:
        bad = list(bad)
        rows.reject(bad)
        aside = rows.rejected.path.name
        self._found += [
            f"warning: {rows.path}:{found.number}: {found.fault}; set aside in {aside} and made anew" for found in bad
        ]


def _without(rows: SignedLines, keys: Iterable[str]) -> Iterator[Read]:
    """The rows that speak of a response that is not there."""
    there = set(keys)
    for found in rows.read():
        if found.row is not None and found.row["key"] not in there:
            yield Read(found.number, found.line, found.row, found.signed, "of a response that is not there any more")
