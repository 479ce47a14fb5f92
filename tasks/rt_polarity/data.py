"""Sentences of Pang and Lee (2005), rt-polarity: one half teaches the gold reward, the other the language models.

The two never share a sentence: which half a sentence belongs to is decided by its own hash.
"""

import hashlib
import re
from pathlib import Path

from tasks.errors import TaskError

FILES = {"rt-polarity.pos": 1, "rt-polarity.neg": 0}
PROMPT_WORDS = 3
WORD = re.compile(r"[a-z0-9']+|[^\sa-z0-9]")


def sentences(folder: str | Path) -> list[tuple[str, int]]:
    """(sentence, 1 for a positive one) of both files, each sentence once.

    Raises:
        TaskError: a file is not there.
    """
    found: dict[str, int] = {}
    for name, label in FILES.items():
        try:
            # the files mix UTF-8 and Latin-1
            lines = Path(folder, name).read_bytes().decode("utf-8", "replace").replace("\ufffd", "").splitlines()
        except OSError as error:
            wanted = " and ".join(FILES)
            raise TaskError(f"{Path(folder, name)}: {error.strerror}; give the folder of {wanted}") from None
        for line in lines:
            if len(line.split()) > PROMPT_WORDS + 1:
                found.setdefault(" ".join(line.split()), label)
    return list(found.items())


def part(sentence: str, parts: int, salt: str) -> int:
    """Which of so many parts a sentence belongs to."""
    return int.from_bytes(hashlib.sha256(f"{salt}:{sentence}".encode()).digest()[:8], "big") % parts


def halves(rows: list[tuple[str, int]]) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """The gold reward's half and the language models'."""
    sides: tuple[list, list] = ([], [])
    for row in rows:
        sides[part(row[0], 2, "half")].append(row)
    return sides


def divided(sentence: str) -> tuple[str, str]:
    """The prompt, a sentence's first words, and the rest, which begins with a space."""
    words = sentence.split(" ")
    return " ".join(words[:PROMPT_WORDS]), " " + " ".join(words[PROMPT_WORDS:])


def prompts(rows: list[tuple[str, int]]) -> dict[str, list[str]]:
    """Distinct prompts of the language models' half: "train", and "dev" and "test", whose beginnings occur nowhere
    else."""
    found: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    for prompt in dict.fromkeys(divided(sentence)[0] for sentence, _ in rows):
        found[split_of(prompt)].append(prompt)
    return found


def split_of(prompt: str) -> str:
    """The split to which a prompt belongs: of 10 parts by hash, one is dev, two are test, the rest train."""
    number = part(prompt, 10, "split")
    return "dev" if number == 0 else "test" if number <= 2 else "train"


def words(text: str) -> list[str]:
    """Words and signs, in lower case."""
    return WORD.findall(text.lower())
