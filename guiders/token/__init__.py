"""Token guidance: what changes the next-token distribution."""

from guiders.token.implicit import Implicit

__all__ = ["Implicit"]
