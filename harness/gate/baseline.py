"""A recorded baseline: its shape, how it is read back, and its layout in a file."""

import json
from pathlib import Path
from typing import Any, Literal

from harness.config.schema import Part, validated
from harness.errors import UserError

SWITCH = "--record"


class Baseline(Part):
    """What ``reports.gate.statistics.record`` writes, held to its shape when it is read back."""

    format: Literal[2]
    task: str
    judge: str
    seeds: list[int]
    hashes: dict[str, str]
    prompts: list[str]
    settings: dict[str, dict[str, list[float | None]]]


def read_baseline(file: Path) -> dict:
    """A recorded baseline.

    Raises:
        UserError: no such file, or not what ``gate --record`` writes.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        mend = f"record one: python -m harness gate {SWITCH} run=runs/NAME baseline={file}"
        raise UserError(f"baseline={file}: cannot be read ({error.strerror}); {mend}") from None
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise UserError(f"baseline={file}: not a JSON object; record it again with gate {SWITCH}")
    try:
        return validated(Baseline, values).model_dump()
    except UserError as error:
        told = str(error).partition(";")[0][:200]
        raise UserError(f"baseline={file}: {told}; record it again with gate {SWITCH}") from None


def layout(value: Any, depth: int = 0) -> str:
    """JSON with one line per metric, so that a diff of two baselines can be read."""
    if not isinstance(value, dict) or not value:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    indent = " " * (depth + 1)
    lines = [f"{indent}{json.dumps(key, ensure_ascii=False)}: {layout(item, depth + 1)}" for key, item in value.items()]
    return "{\n" + ",\n".join(lines) + "\n" + " " * depth + "}"
