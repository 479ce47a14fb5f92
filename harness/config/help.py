"""``VERB --help``: every option with its default and what it means, read from the configuration itself."""

import sys
from collections.abc import Iterator
from importlib import resources
from typing import TYPE_CHECKING

from pydantic import BaseModel

from harness.config.compose import choices, compose

if TYPE_CHECKING:
    from rich.console import Console

GROUPS = ("preset", "task", "model", "guider", "grid", "judge", "backend")


def show_options(verb: str, schema: type[BaseModel], switches: dict[str, str], primary: str | None = None) -> None:
    """Print a verb's options.

    Args:
        schema: describes the values of ``conf/PRIMARY.yaml``.
        switches: options that are no overrides, with their meaning.
        primary: the configuration's name; None: the verb's.
    """
    from rich.console import Console

    values = compose(primary or verb, []).config
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    with console.capture() as captured:  # printed by Python: rich would end the process where a pipe is closed
        _print_options(console, verb, schema, switches, values)
    print(captured.get(), end="")


def _print_options(
    console: "Console", verb: str, schema: type[BaseModel], switches: dict[str, str], values: dict
) -> None:
    from rich.table import Table
    from rich.text import Text

    console.print(Text(f"usage: python -m harness {verb} [key=value ...] {' '.join(f'[{name}]' for name in switches)}"))
    table = Table("option", "default", "meaning", box=None, pad_edge=False, header_style="bold")
    for name, meaning in {**switches, "--debug": "show tracebacks"}.items():
        table.add_row(Text(name), "", Text(meaning))
    for key, default, meaning in _options(schema, values):
        table.add_row(Text(key), Text(default), Text(meaning))
    console.print(table)
    groups = [group for group in GROUPS if group in values or (group == "preset" and "guider" in values)]
    if not groups:
        return
    console.print(Text("\nconfigurations to choose from (key=NAME):", style="bold"))
    for group in groups:
        console.print(Text(f"  {group:<9} {', '.join(choices(group))}"))
    if "guider" in groups:
        console.print(Text("guider.KEY=VALUE changes every chosen guider that has the key: guider.value.model=PATH"))


def show_files(verb: str, *files: str) -> None:
    """Print a verb's options where they depend on a choice: its configuration files, defaults and comments in them.

    Args:
        files: below ``conf/``, the primary one first; ``GROUP/*.yaml`` for all of a group.
    """
    shown: list[str] = []
    for file in files:
        group = file.removesuffix("/*.yaml")
        shown += [file] if group == file else [f"{group}/{name}.yaml" for name in choices(group)]
    print(f"usage: python -m harness {verb} [key=value ...]\n\n  --debug    show tracebacks")
    for file in shown:
        print(f"\n# conf/{file}\n" + resources.files("conf").joinpath(file).read_text(encoding="utf-8").rstrip())


def _options(schema: type[BaseModel], values: dict, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    for name, info in schema.model_fields.items():
        inner, value = info.annotation, values.get(name, info.default)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _options(inner, value or {}, f"{prefix}{name}.")
        elif name == "model":
            for role, spec in value.items():
                more = ", ".join(f".{name}" for name in spec if name not in ("path", "head"))
                yield f"model.{role}", _shown(spec["path"]), f"a folder or hub name; also {more}"
        elif name == "judge":
            yield "judge", str((value or {}).get("name")), info.description or ""
        else:
            yield prefix + name, _shown(value), info.description or ""


def _shown(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return "[" + ",".join(map(_shown, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
