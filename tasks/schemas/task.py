"""What the task YAML calls: prompts with a schema each, and whether a response is valid under its prompt's schema."""

import json
import re
from pathlib import Path

from tasks.hub_rows import rows

FILE = Path(__file__).with_name("schemas.jsonl")
NOT_JSON = object()


def load(data: str | None = None, **_) -> dict:
    """{"test": datasets.Dataset} with the columns "prompt" and "json_schema", the schema as a JSON text.

    Args:
        data: a local .jsonl or .parquet file with these columns; None: the 24 schemas of this folder.

    Raises:
        TaskError: the rows can't be had, or one has no prompt or no schema.
    """
    import datasets

    return {"test": datasets.Dataset.from_list(rows("schemas", "test", ("prompt", "json_schema"), data or str(FILE)))}


def process_results(doc: dict, results: list[str]) -> dict[str, float]:
    """`valid`: 1 where the response, all of it, is JSON that the schema of the document takes, by the ``jsonschema``
    library, formats included; `json`: 1 where it is JSON; `length`: of the response in characters."""
    (text,) = results
    scores = {"valid": is_valid(text, doc["json_schema"]), "json": _read(text) is not NOT_JSON, "length": len(text)}
    return {name: float(value) for name, value in scores.items()}


def _read(text: str) -> object:
    """The value that a JSON text holds; NaN and infinities are none."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return NOT_JSON


def _refuse(name: str) -> None:
    raise ValueError(name)


def is_valid(text: str, schema: str) -> bool:
    """Does the schema (draft 2020-12 unless it names another) take the text? One that is none takes nothing, nor does
    one that refers to what is not in it: no address is opened."""
    from jsonschema import Draft202012Validator, SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    value, rules = _read(text), _read(schema)
    if value is NOT_JSON or not isinstance(rules, (dict, bool)):
        return False
    kind = validator_for(rules, Draft202012Validator)
    try:
        kind.check_schema(rules)
        return kind(rules, registry=Registry(), format_checker=kind.FORMAT_CHECKER).is_valid(value)
    except (SchemaError, Unresolvable, RecursionError, re.error):
        return False
