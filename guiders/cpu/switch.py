"""The one switch of this folder: each trick is on unless it is left out, which is how its gain is measured."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from guiders.errors import GuiderError

TRICKS = ("allocator", "gelu", "head", "packed")
_left_out: ContextVar[frozenset[str]] = ContextVar("left_out", default=frozenset())


def enabled(trick: str) -> bool:
    """Is this one of `TRICKS` in use here?"""
    return trick not in _left_out.get()


@contextmanager
def without(*tricks: str) -> Iterator[None]:
    """Inside, in this thread, models are loaded and decode without these tricks; what they compute stays the same.

    Raises:
        GuiderError: a name that is none of `TRICKS`.
    """
    for trick in tricks:
        if trick not in TRICKS:
            raise GuiderError(f"{trick}: no such trick of guiders.cpu; they are {', '.join(TRICKS)}")
    token = _left_out.set(_left_out.get() | set(tricks))
    try:
        yield
    finally:
        _left_out.reset(token)
