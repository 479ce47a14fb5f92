"""The references of the methods: conf/references.bib, entry by entry."""

import re
from importlib import resources

from harness.config.nearest import nearest
from harness.errors import UserError

ENTRY = re.compile(r"^@\w+\{\s*([^,\s]+)\s*,.*?^\}", re.MULTILINE | re.DOTALL)


def references() -> dict[str, str]:
    """key -> the BibTeX entry as it stands."""
    text = resources.files("conf").joinpath("references.bib").read_text(encoding="utf-8")
    return {found[1]: found[0] for found in ENTRY.finditer(text)}


def entry(key: str) -> str:
    """One entry.

    Raises:
        UserError: no entry of this key.
    """
    known = references()
    if key not in known:
        raise UserError(f"{key}: no such entry in conf/references.bib; {nearest(key, list(known))}")
    return known[key]


def citation(key: str) -> str:
    """An entry in a line: "Liu et al. 2024, arXiv:2409.17819".

    Raises:
        UserError: as of `entry`.
    """
    text = entry(key)
    authors = _field(text, "author").split(" and ")
    last = [re.sub(r"[{}]", "", name.partition(",")[0]).strip() for name in authors]
    named = last[0] if len(last) == 1 else " and ".join(last) if len(last) == 2 else f"{last[0]} et al."
    eprint = _field(text, "eprint")
    return f"{named} {_field(text, 'year')}" + (f", arXiv:{eprint}" if eprint else "")


def title(key: str) -> str:
    """An entry's title, without braces."""
    return re.sub(r"[{}]", "", _field(entry(key), "title"))


def _field(text: str, name: str) -> str:
    """A field's value; empty where the entry lacks it. Values are in braces, on one or several lines."""
    found = re.search(rf"^\s*{name}\s*=\s*\{{(.*?)\}}\s*,?\s*$", text, re.MULTILINE | re.DOTALL)
    return " ".join(found[1].split()) if found else ""
