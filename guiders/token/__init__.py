"""Token guidance: what changes the next-token distribution."""

from guiders.token.implicit import Implicit
from guiders.token.q import QGuidance

__all__ = ["Implicit", "QGuidance"]
