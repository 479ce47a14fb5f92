"""Token guidance: what changes the next-token distribution."""

from guiders.token.implicit import Implicit
from guiders.token.protocol import GuideState, TokenGuide, View
from guiders.token.q import QGuidance

__all__ = ["GuideState", "Implicit", "QGuidance", "TokenGuide", "View"]
