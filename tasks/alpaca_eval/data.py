"""AlpacaEval's 805 instructions and the outputs of its baselines, checked against the shipped hashes.

The hub's JSON files are read as they are: the data set's own script is remote code, and `datasets` no longer runs it.
"""

import csv
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from tasks.errors import TaskError

HUB = "tatsu-lab/alpaca_eval"
INSTRUCTIONS = "alpaca_eval.json"  # the 805 instructions, with the outputs of AlpacaEval 1's baseline
MOST_BYTES = 1 << 28  # of an outputs file, unpacked; the 805 outputs of a verbose model are some 3 MB
REFERENCE = "alpaca_eval_gpt4_baseline.json"  # AlpacaEval 2's baseline: gpt4_1106_preview


def sha256(instruction: str) -> str:
    """The SHA-256 of an instruction's UTF-8 text, in hex."""
    return hashlib.sha256(instruction.encode("utf-8", "surrogatepass")).hexdigest()


def shipped() -> list[dict]:
    """The 805 instructions in their order: ``sha256`` and ``dataset`` (the source that it was drawn from)."""
    with resources.files(__package__).joinpath("instructions.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class InstructionDifference:
    """How a set of instructions differs from AlpacaEval's.

    Attributes:
        missing: places (0 to 804) of the instructions that are not among them.
        unknown: places in the given list of those that are not AlpacaEval's, a changed one among them.
        moved: whether those that are AlpacaEval's stand in another order.
    """

    missing: tuple[int, ...]
    unknown: tuple[int, ...]
    moved: bool

    def __str__(self) -> str:
        said = []
        if self.missing:
            said.append(f"{len(self.missing)} of AlpacaEval's 805 instructions missing ({_places(self.missing)})")
        if self.unknown:
            said.append(f"{len(self.unknown)} changed or not AlpacaEval's (rows {_places(self.unknown)})")
        if self.moved:
            said.append("another order")
        return "; ".join(said) or "AlpacaEval's 805 instructions"


def difference(instructions: Sequence[str]) -> InstructionDifference:
    """Compare instructions with the shipped table."""
    place = {row["sha256"]: index for index, row in enumerate(shipped())}
    found = [place.get(sha256(instruction)) for instruction in instructions]
    known = [index for index in found if index is not None]
    return InstructionDifference(
        missing=tuple(sorted(set(place.values()) - set(known))),
        unknown=tuple(row for row, index in enumerate(found) if index is None),
        moved=known != sorted(known),
    )


def read_rows(path: str | Path, *fields: str) -> list[dict]:
    """The rows of an AlpacaEval outputs file: a JSON list of objects, ``.json`` or ``.json.gz``.

    Args:
        fields: what every row must hold as a text.

    Raises:
        TaskError: no such file, not JSON, a row without one of the fields, or the same instruction twice.
    """
    path = Path(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise TaskError(f"{path}: more than {MOST_BYTES >> 20} MiB of text; give one set of outputs a file")
        rows = json.loads(data)
    except FileNotFoundError:
        raise TaskError(f"{path}: no such file; give a JSON list of objects with 'instruction' and 'output'") from None
    except IsADirectoryError:
        raise TaskError(f"{path}: is a folder; give the JSON file in it") from None
    except TaskError:
        raise
    except (OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
        if getattr(error, "errno", None):  # the operating system's own
            raise
        raise TaskError(f"{path}: not a JSON file ({type(error).__name__}); give a JSON list of objects") from None
    if not isinstance(rows, list) or not rows:
        raise TaskError(f"{path}: not a list of rows; give a JSON list of objects with 'instruction' and 'output'")
    seen: dict[str, int] = {}
    for number, row in enumerate(rows):
        for field in ("instruction", *fields):
            if not isinstance(row, dict) or not isinstance(row.get(field), str):
                raise TaskError(f"{path}: row {number} has no text {field!r}; mend or remove it")
        first = seen.setdefault(row["instruction"], number)
        if first != number:
            raise TaskError(f"{path}: rows {first} and {number} have the same instruction; keep one")
    return rows


def instructions(data: str | Path | None = None) -> list[dict]:
    """The 805 instructions, checked.

    Args:
        data: a local file with them; None for the hub's.

    Raises:
        TaskError: the file can't be had, or its instructions are not the shipped table's, with which.
    """
    path = Path(data) if data else _hub_file(INSTRUCTIONS, "task.data")
    rows = read_rows(path)
    differs = difference([row["instruction"] for row in rows])
    if differs.missing or differs.unknown:
        raise TaskError(f"{path}: {differs}; take {INSTRUCTIONS} of {HUB}")
    by_text = {row["instruction"]: row for row in rows}
    return [by_text[text] for text in in_order(by_text)]


def in_order(texts: Iterable[str]) -> list[str]:
    """AlpacaEval's instructions among the texts, in its order."""
    place = {row["sha256"]: index for index, row in enumerate(shipped())}
    known = {index: text for text in texts if (index := place.get(sha256(text))) is not None}
    return [known[index] for index in sorted(known)]


def reference_file() -> Path:
    """The hub's file of the outputs of AlpacaEval 2's baseline.

    Raises:
        TaskError: the hub can't be reached, and the file was not fetched before.
    """
    return _hub_file(REFERENCE, "reference")


def _hub_file(name: str, option: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(hf_hub_download(HUB, name, repo_type="dataset"))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        raise TaskError(f"{HUB}/{name} can't be had from the hub ({type(error).__name__}); set {option}=FILE") from None


def _places(places: Sequence[int]) -> str:
    shown = ", ".join(map(str, places[:10]))
    return shown if len(places) <= 10 else f"{shown}, ..."
