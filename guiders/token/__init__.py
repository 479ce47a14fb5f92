"""Token guidance: what changes the next-token distribution."""

from guiders.token.aad import AAD
from guiders.token.align_distil import AlignDistil
from guiders.token.blend_in import BlendIn
from guiders.token.contrastive import Contrastive
from guiders.token.entropy_adaptive import EntropyAdaptive
from guiders.token.implicit import Implicit
from guiders.token.nudging import Nudging
from guiders.token.protocol import GuideState, TokenGuide, View
from guiders.token.q import QGuidance
from guiders.token.self_debias import SelfDebias

__all__ = [
    "AAD",
    "AlignDistil",
    "BlendIn",
    "Contrastive",
    "EntropyAdaptive",
    "GuideState",
    "Implicit",
    "Nudging",
    "QGuidance",
    "SelfDebias",
    "TokenGuide",
    "View",
]
