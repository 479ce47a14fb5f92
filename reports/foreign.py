"""Texts that others wrote, made harmless where they are shown: a terminal, a Markdown table, a spreadsheet."""

import re

# C0 and C1 controls (ANSI escapes begin with one) and the bidirectional overrides, embeddings and isolates.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
MARKDOWN = {sign: f"\\{sign}" for sign in "\\|*`_["} | {"<": "&lt;"}


def printable(text: str) -> str:
    """The text with every control and direction character spelled out (\\x1b, \\u202e)."""
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def markdown(text: str) -> str:
    """The text as one line of Markdown that shows just it."""
    return "".join(MARKDOWN.get(sign, sign) for sign in printable(text.replace("\n", " ")))


def in_table(text: str) -> str:
    """The text in a Markdown table that is read as it stands too: names keep their underscores."""
    return printable(text.replace("\n", " ")).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def cell(text: str) -> str:
    """The text as a spreadsheet's cell: one that would be run as a formula starts with '."""
    return f"'{printable(text)}" if text.startswith(FORMULA) else printable(text)
