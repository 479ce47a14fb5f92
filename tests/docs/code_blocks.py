"""The code blocks of a Markdown page: fenced ones, and indented commands."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOT_RUN = re.compile(r"<!-- not run: (.+?) -->")
PROGRAMS = ("python", "make", "git")


@dataclass(frozen=True)
class Block:
    """Attributes: page: below the root. line: of the block's first one. language: as its fence says; "" where it says
    nothing. not_run: the reason that a comment above it gives, or None."""

    page: str
    line: int
    language: str
    text: str
    not_run: str | None = None

    @property
    def id(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file that a comment in the first line names, where it does."""
        found = re.match(r"# (\S+\.ya?ml)\b", self.text)
        return found[1] if found else None


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """In the order of the page."""
    name, lines = str(page.relative_to(ROOT)), page.read_text(encoding="utf-8").splitlines()
    found, above, at = [], "", 0
    while at < len(lines):
        line, start = lines[at], at
        if line.startswith("```"):
            at = next(i for i in range(at + 1, len(lines)) if lines[i].startswith("```"))
            language, inside = line[3:].strip(), lines[start + 1 : at]
        elif line.startswith("    ") and not above and line.split()[0] in PROGRAMS:
            while at + 1 < len(lines) and lines[at + 1].startswith("    "):
                at += 1
            language, inside = "", [one[4:] for one in lines[start : at + 1]]
        else:
            above, at = line.strip(), at + 1
            continue
        reason = NOT_RUN.search(above)
        text = "\n".join(inside) + "\n"
        found.append(Block(name, start + 1, language, text, reason[1] if reason else None))
        above, at = "", at + 1
    return found


def commands(block: Block) -> list[list[str]]:
    """The words of every command of a shell block, comments left out and continued lines joined; of another block, of a
    command that the comment which names its file gives (``# FILE: COMMAND``)."""
    if block.language not in ("", "sh", "bash", "shell"):
        given = re.match(r"# \S+: (python .+)", block.text)
        return [shlex.split(given[1])] if given else []
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]
