"""Rows of a data set on the hub, or of a local file of the same shape, checked before anything is generated."""

import json
from collections.abc import Sequence
from pathlib import Path

from tasks.errors import TaskError


def rows(hub: str, split: str, columns: Sequence[str], data: str | None = None) -> list[dict[str, str]]:
    """The rows with the given columns alone, in their order.

    Args:
        data: a .jsonl or .parquet file in place of the hub's.

    Raises:
        TaskError: no such data, a row that is no object, or one without a text in a column, named by its place.
    """
    found = []
    for place, row in _local(Path(data).expanduser()) if data else _hub(hub, split):
        for column in columns:
            if not isinstance(row, dict) or not isinstance(row.get(column), str) or not row[column].strip():
                raise TaskError(f"{place}: no text {column!r}; mend or remove the row")
        found.append({column: row[column] for column in columns})
    if not found:
        raise TaskError(f"{data or hub}: holds no row; give a file with the columns {', '.join(columns)}")
    return found


def _local(path: Path):
    if not path.is_file():
        raise TaskError(f"task.data={path}: no such file; give a .jsonl or .parquet file")
    if path.suffix == ".parquet":
        import pyarrow.parquet

        for number, row in enumerate(pyarrow.parquet.read_table(path).to_pylist(), 1):
            yield f"{path} row {number}", row
        return
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield f"{path}:{number}", json.loads(line)
                except ValueError as error:
                    raise TaskError(f"{path}:{number}: not JSON ({error}); mend or remove the line") from None


def _hub(name: str, split: str):
    from datasets import load_dataset

    try:
        found = load_dataset(name, split=split)
    except Exception as error:  # datasets raises many kinds, from network to format
        raise TaskError(f"{name}: can't be had from the hub ({type(error).__name__}); set task.data=FILE") from None
    for number, row in enumerate(found, 1):
        yield f"{name}[{split}] row {number}", row
