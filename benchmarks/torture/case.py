"""One attack: what it is called, and how it is made."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Drawn = TypeVar("Drawn")


class Skipped(Exception):
    """The machine does not let an attack be made, for the reason given."""


@dataclass(frozen=True)
class Case:
    """One attack.

    Attributes:
        matrix: kills, faults, mutations or inputs.
        name: within the matrix; the same seed and count give the same names.
        run: makes the attack in an empty folder that it is given; what did not survive, in words, None where all did.
            Raises Skipped.
    """

    matrix: str
    name: str
    run: Callable[[Path], str | None]


def drawn(items: Sequence[Drawn], count: int | None, seed: int) -> list[Drawn]:
    """So many of them, in their order and without repetition; None for all."""
    if count is None or count >= len(items):
        return list(items)
    return [items[place] for place in sorted(random.Random(seed).sample(range(len(items)), count))]
