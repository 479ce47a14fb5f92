"""Token guidance: what changes the next-token distribution."""

from guiders.token.aad import AAD
from guiders.token.align_distil import AlignDistil
from guiders.token.args import ARGS
from guiders.token.asap import ASAp
from guiders.token.awrs import AWRS
from guiders.token.blend_in import BlendIn
from guiders.token.caad import CAAD
from guiders.token.constraint import Constrained, Constraint
from guiders.token.contrastive import Contrastive
from guiders.token.entropy_adaptive import EntropyAdaptive
from guiders.token.grammar import Grammar
from guiders.token.implicit import Implicit
from guiders.token.look_back import LookBack
from guiders.token.nudging import Nudging
from guiders.token.penalty import Penalty
from guiders.token.protocol import GuideState, TokenGuide, View
from guiders.token.q import QGuidance
from guiders.token.rules import Rules
from guiders.token.self_debias import SelfDebias
from guiders.token.speculative import Speculative
from guiders.token.steered import Steered
from guiders.token.task_arithmetic import TaskArithmetic
from guiders.token.transfer_q import TransferQ
from guiders.token.vas import VAS

__all__ = [
    "AAD",
    "ARGS",
    "AWRS",
    "CAAD",
    "VAS",
    "ASAp",
    "AlignDistil",
    "BlendIn",
    "Constrained",
    "Constraint",
    "Contrastive",
    "EntropyAdaptive",
    "Grammar",
    "GuideState",
    "Implicit",
    "LookBack",
    "Nudging",
    "Penalty",
    "QGuidance",
    "Rules",
    "SelfDebias",
    "Speculative",
    "Steered",
    "TaskArithmetic",
    "TokenGuide",
    "TransferQ",
    "View",
]
