"""The verb ``guiders``: which methods there are, what one of them is made of, and how to cite it."""

import inspect
import sys

from harness.errors import UserError
from harness.methods.listing import Listed, all_listed, listed
from harness.methods.references import entry, title

CITE = "--cite"
USAGE = """usage: python -m harness guiders [NAME ...] [--cite]

  (no name)   all methods of conf/guider: what each is, its parts, its axes, its models
  NAME        one method in full; a YAML file of your own is taken too
  --cite      BibTeX of the named methods (of all, without a name)
  --debug     show tracebacks"""


def main(arguments: list[str]) -> int:
    """``python -m harness guiders [NAME ...] [--cite]``.

    Raises:
        UserError: no such method; an option that is none.
    """
    names = [argument for argument in arguments if not argument.startswith("-")]
    for argument in arguments:
        if argument.startswith("-") and argument != CITE:
            raise UserError(f"{argument}: no such option; see python -m harness guiders --help")
    methods = [listed(name) for name in names] if names else all_listed()
    if CITE in arguments:
        keys = dict.fromkeys(key for one in methods for key in one.method.about.cite)
        print("\n\n".join(entry(key) for key in keys) or f"{', '.join(names)}: nothing to cite")
    elif names:
        print("\n\n".join(_page(one) for one in methods))
    else:
        _table(methods)
    return 0


def _page(one: Listed) -> str:
    about = one.method.about
    lines = [f"{one.method.name}: {about.summary or 'no summary'}", ""]
    lines += [f"  {part:<8} {', '.join(names)}" for part, names in one.parts.items()]
    lines += [f"  models   {', '.join(one.models)}", f"  lm-eval  {_requests(one)}"]
    for axis, values in one.axes.items():
        lines.append(f"  grid.{axis}={_values(values)}" + _authors(about.authors.get(axis)))
    lines += [f"  {key}{_authors(value)}" for key, value in about.authors.items() if key not in one.axes]
    for key, line in zip(about.cite, one.citations, strict=True):
        lines.append(f"  {line}. {title(key)}")
    return "\n".join(lines)


def _requests(one: Listed) -> str:
    return "generation and log-likelihoods" if one.likelihoods else "generation"


def _values(values: list) -> str:
    return "[" + ",".join(map(str, values)) + "]"


def _authors(value: str | None) -> str:
    return "" if value is None else f"  (authors: {value})"


def _table(methods: list[Listed]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    table = Table("method", "what it does", "parts", "axes", "models", "log-lik.", "source", box=None, pad_edge=False)
    for one in methods:
        cells = [
            one.method.name,
            one.method.about.summary,
            " + ".join(name for names in one.parts.values() for name in names) or "-",
            " ".join(f"{axis}={_values(values)}" for axis, values in one.axes.items()) or "-",
            ", ".join(one.models),
            "yes" if one.likelihoods else "no",
            "; ".join(one.citations) or "-",
        ]
        table.add_row(*(Text(inspect.cleandoc(cell)) for cell in cells))
    console.print(table)
    console.print(Text("\npython -m harness guiders NAME shows the authors' values; --cite prints BibTeX"))
