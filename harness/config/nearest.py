"""The nearest right name for a wrong one."""

import difflib
from collections.abc import Iterable


def nearest(wrong: str, right: Iterable[str]) -> str:
    """A clause that mends a wrong name: ``did you mean 'x'?``, or the list of names where none is near.

    A name that begins with what was typed is nearer than one that is spelt like it.
    """
    right = list(right)
    begun = [name for name in right if len(wrong) > 2 and name.startswith(wrong)]
    close = begun[:1] or difflib.get_close_matches(wrong, right, n=1, cutoff=0.6)
    if not close:
        # dotted keys: what the user mistyped is mostly the last word, so that a match there counts as well
        last = wrong.rpartition(".")[2]
        close = [name for name in right if name.rpartition(".")[2] == last][:1]
    if close:
        return f"did you mean {close[0]!r}?"
    if len(right) > 12:
        return "see --help for the names"
    return "it is one of " + ", ".join(right)
