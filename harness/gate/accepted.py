"""Differences that a change means to make: a committed file that names them with the reason."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, StringConstraints

from harness.config.schema import Part, validated
from harness.errors import UserError

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Accepted(Part):
    """One entry.

    Attributes:
        reason: why the results change.
        settings: of which settings, by name; * and ? stand for what they do in file names.
        differs: fields of the records (as response, forward_passes, preference), and figures of the gate; "response":
            other texts, and what follows from them; "records": some are not made any more.
    """

    reason: Text
    settings: Annotated[list[Text], Field(min_length=1)]
    differs: Annotated[list[Text], Field(min_length=1)]

    def covers(self, setting: str) -> bool:
        return any(fnmatchcase(setting, pattern) for pattern in self.settings)


class _File(Part):
    accepted: list[Accepted]


def read(file: Path) -> list[Accepted]:
    """The entries of a file; none where there is no file.

    Raises:
        UserError: a file that is not a list of {reason, settings, differs}.
    """
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{file}: cannot be read ({str(error).splitlines()[0]}); mend it or remove it") from None
    try:
        return validated(_File, {"accepted": values or []}).accepted
    except UserError as error:
        raise UserError(f"{file}: {error}; an entry is {{reason, settings: [...], differs: [...]}}") from None


def added(now: Path, then: Path | None) -> list[Accepted]:
    """The entries that the earlier version of the file does not have: what a change accepts is what it adds."""
    earlier = read(then) if then is not None else []
    return [entry for entry in read(now) if entry not in earlier]
