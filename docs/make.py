"""Write what docs/ takes from the code: the tables of architecture.md, and a page for each method (`make docs`)."""

import ast
import inspect
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from harness.methods.listing import Listed, all_listed  # noqa: E402
from harness.methods.references import title  # noqa: E402

ROOMS = ("guiders", "harness")


def pages() -> dict[Path, str]:
    """Every page that is made here: path -> text."""
    methods = all_listed()
    folder = ROOT / "docs" / "methods"
    found = {folder / f"{one.method.name}.md": _method(one) for one in methods}
    return {ROOT / "docs" / "architecture.md": _architecture(), folder / "README.md": _index(methods), **found}


def _architecture() -> str:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for room in ROOMS:
        head, after = text.split(f"## {room.capitalize()}\n", 1)
        table = _table(ROOT / room)
        after = re.sub(r"^\| file \| what it is \|\n(?:\|.*\n)+", lambda _, new=table: new, after, count=1, flags=re.M)
        text = f"{head}## {room.capitalize()}\n{after}"
    return text


def _table(top: Path) -> str:
    """The table of one top folder: its own files, then each folder with its files."""
    lines = ["| file | what it is |", "| --- | --- |", *_files(top, top)]
    for folder in sorted(path for path in top.iterdir() if (path / "__init__.py").is_file()):
        lines += [f"| **`{folder.name}/`** | {_sentence(folder / '__init__.py')} |", *_files(folder, top)]
    return "\n".join(lines) + "\n"


def _files(folder: Path, top: Path) -> list[str]:
    found = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    return [f"| `{path.relative_to(top).as_posix()}` | {_sentence(path)} |" for path in found]


def _sentence(path: Path) -> str:
    """The first paragraph of a file's docstring in one line, without its full stop."""
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(said.split("\n\n")[0].split()).removesuffix(".").replace("|", "\\|")


def _index(methods: list[Listed]) -> str:
    lines = [
        "# Methods",
        "",
        "Each one is a file of `conf/guider`: `python -m harness sweep guider=[base,NAME]`.",
        "`python -m harness guiders` prints this table, `python -m harness guiders NAME --cite` the BibTeX.",
        "Made by `make docs`.",
        "",
        "| method | what it does | source |",
        "| --- | --- | --- |",
    ]
    for one in methods:
        name, about = one.method.name, one.method.about
        lines.append(f"| [{name}]({name}.md) | {about.summary} | {'; '.join(one.citations) or '–'} |")
    return "\n".join(lines) + "\n"


def _method(one: Listed) -> str:
    about = one.method.about
    lines = [f"# {one.method.name}", "", about.summary, ""]
    if one.axes:
        lines += ["| axis | default | authors |", "| --- | --- | --- |"]
        for axis, values in one.axes.items():
            shown = ", ".join(map(str, values))
            lines.append(f"| `grid.{axis}` | {shown} | {about.authors.get(axis, '–')} |")
        lines.append("")
    fixed = {key: value for key, value in about.authors.items() if key not in one.axes}
    lines += [f"The authors' {key}: {value}." for key, value in fixed.items()] + ([""] if fixed else [])
    likelihoods = "answers" if one.likelihoods else "does not answer"
    lines += [f"Models: {', '.join(one.models)}. It {likelihoods} lm-eval's log-likelihood requests.", ""]
    for part, classes in one.classes.items():
        for part_class in dict.fromkeys(classes):
            lines += [f"## {part_class.__name__} ({part})", "", "```text", inspect.getdoc(part_class) or "", "```", ""]
    lines += [f"- {line}. *{title(key)}*" for key, line in zip(about.cite, one.citations, strict=True)]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
