"""Which packages an import finds, wherever the command was started."""

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("conf", "guiders", "reports", "tasks")


class Rooms:
    """Finds the top-level packages that belong to this one beside it, whatever else bears their names."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The specification of one of our packages; None for every other module."""
        return PathFinder.find_spec(name, [str(ROOT)], target) if path is None and name in ROOMS else None


def settle() -> None:
    """Find our own packages first and the working directory's modules last; to be called by a process's entry point.

    A user's folder may hold tasks/, conf/ or reports/, and a module that bears the name of an installed one: Python
    looks there first under ``python -m`` and not at all in a console script. ``python -P`` keeps it out altogether.
    """
    if Rooms not in sys.meta_path:
        sys.meta_path.insert(0, Rooms)  # type: ignore[arg-type]  # a class with a static find_spec, as PathFinder is
    try:
        here = os.getcwd()
    except OSError:  # a folder that was removed
        return
    if sys.flags.safe_path or Path(here).resolve() == ROOT:
        return
    if sys.path[:1] in ([here], [""]):
        del sys.path[0]
    if here not in sys.path:
        sys.path.append(here)
