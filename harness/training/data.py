"""Rows to train on: read from a file or the hub, checked one by one before any training starts."""

import csv
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config.nearest import nearest
from harness.errors import UserError
from harness.records.json_lines import objects
from harness.training.config import Data

FORMATS = (".jsonl", ".csv", ".parquet")


@dataclass(frozen=True)
class Rows:
    """Checked rows.

    Attributes:
        train, held_out: with the columns that were asked for, under their own names; rows of one prompt are on one
            side.
    """

    train: list[dict]
    held_out: list[dict]


def read(data: Data, columns: Sequence[str]) -> list[dict]:
    """The rows, with the given columns ("prompt", "response", "chosen", "rejected", "reward") under these names.

    Raises:
        UserError: no such data, an unknown column, or a bad row, named by file and line.
    """
    if data.path is None:
        raise UserError("data: not set; give data=FILE (.jsonl, .csv, .parquet) or a data set's name on the hub")
    wanted = {name: getattr(data, name) for name in columns if getattr(data, name) is not None}
    checked: list[dict] = []
    for place, row in _source(data):
        if not checked:
            _check_columns(place, row, wanted)
        checked.append({"prompt": "", **{name: _value(place, row, name, column) for name, column in wanted.items()}})
    if not checked:
        raise UserError(f"{data.path}: holds no row; give rows with {', '.join(wanted.values())}")
    return checked


def has_column(data: Data, column: str) -> bool:
    """Whether the first row has a column."""
    return any(column in row for _, row in _first(_source(data)))


def sha256(rows: list[dict]) -> str:
    """Of everything that was read, in its order."""
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def split(rows: list[dict], share: float, seed: int) -> Rows:
    """Train and held-out rows. Rows of one prompt stay together, so that no held-out prompt was trained on; where all
    rows have one prompt, they are split by their responses.

    Raises:
        UserError: too few rows for both.
    """
    for key in ("prompt", "response", "chosen"):
        sides: tuple[list, list] = ([], [])
        for row in rows:
            drawn = hashlib.sha256(f"{seed}\0{row.get(key)}".encode()).digest()
            sides[int.from_bytes(drawn[:8], "big") < share * (1 << 64)].append(row)
        if all(sides):
            return Rows(*sides)
    raise UserError(f"held_out={share}: {len(rows)} rows leave one side empty; give more rows or another share")


def shorten(rows: list[dict], data: Data, length: Callable[[dict], int]) -> tuple[list[dict], int, int]:
    """Count the rows that are too long; drop them where ``data.long_rows`` says so (the trainers cut the others).

    Args:
        length: row -> tokens.

    Returns:
        The rows that stay, how many are too long, and the tokens of the longest.
    """
    lengths = [length(row) for row in rows]
    long = sum(tokens > data.max_length for tokens in lengths)
    if data.long_rows == "drop":
        rows = [row for row, tokens in zip(rows, lengths, strict=True) if tokens <= data.max_length]
        if not rows:
            raise UserError(f"data.max_length={data.max_length}: every row is longer; raise it")
    return rows, long, max(lengths)


def _source(data: Data) -> Iterator[tuple[str, dict]]:
    """(place, row) of every row: the place is FILE:LINE, or a row's number where there are no lines."""
    assert data.path is not None  # `read` has said so
    path = Path(data.path).expanduser()
    if path.is_file():
        if path.suffix not in FORMATS:
            raise UserError(f"data={data.path}: neither of {', '.join(FORMATS)}; convert it")
        yield from {".jsonl": objects, ".csv": _csv, ".parquet": _parquet}[path.suffix](path)
    elif path.exists() or data.path.startswith((".", "/", "~")) or path.suffix in FORMATS:
        raise UserError(f"data={data.path}: no such file; give a .jsonl, .csv or .parquet file, or a hub name")
    else:
        yield from _hub(data)


def _csv(path: Path) -> Iterator[tuple[str, dict]]:
    with path.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines, strict=True)
        before = 1
        try:
            for row in reader:
                place, before = f"{path}:{before + 1}", reader.line_num
                if None in row or None in row.values():
                    cells = len(reader.fieldnames or ())
                    raise UserError(f"{place}: another number of cells than the header's {cells}; mend the line")
                yield place, row
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(f"{path}:{before + 1}: not CSV in UTF-8 ({error}); mend the line") from None


def _parquet(path: Path) -> Iterator[tuple[str, dict]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path)
        number = 0
        for batch in table.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield f"{path} row {number}", row
    except pyarrow.ArrowException as error:
        raise UserError(f"{path}: not a parquet file ({str(error).splitlines()[0]})") from None


def _hub(data: Data) -> Iterator[tuple[str, dict]]:
    from datasets import load_dataset

    try:
        found = load_dataset(data.path, split=data.split, revision=data.revision)
    except Exception as error:  # datasets raises many kinds, from network to format
        reason = (str(error).strip().splitlines() or [""])[0]
        raise UserError(
            f"data={data.path}: neither a file nor a data set that can be had from the hub "
            f"({type(error).__name__}: {reason})"
        ) from None
    for number, row in enumerate(found, 1):
        yield f"{data.path}[{data.split}] row {number}", row


def _first(rows: Iterator) -> list:
    return [row for row, _ in zip(rows, range(1), strict=False)]


def _check_columns(place: str, row: dict, wanted: dict[str, str]) -> None:
    for name, column in wanted.items():
        if column not in row:
            raise UserError(f"{place}: no column {column!r}; set data.{name}=COLUMN: {nearest(column, map(str, row))}")


def _value(place: str, row: dict, name: str, column: str) -> str | float:
    value: Any = row.get(column)
    if name == "reward":
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if isinstance(value, bool) or not math.isfinite(number):
            raise UserError(f"{place}: {column} is {value!r}, not a finite number; mend or remove the row")
        return number
    if not isinstance(value, str):
        raise UserError(f"{place}: {column} is {value!r:.60}, not a text; mend or remove the row")
    if not value.strip() and name != "prompt":
        raise UserError(f"{place}: {column} is empty; mend or remove the row")
    return value
