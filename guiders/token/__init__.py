"""Token guidance: what changes the next-token distribution."""

from guiders.token.args import ARGS
from guiders.token.implicit import Implicit
from guiders.token.look_back import LookBack
from guiders.token.penalty import Penalty
from guiders.token.protocol import GuideState, TokenGuide, View
from guiders.token.q import QGuidance
from guiders.token.rules import Rules
from guiders.token.speculative import Speculative
from guiders.token.steered import Steered
from guiders.token.task_arithmetic import TaskArithmetic
from guiders.token.transfer_q import TransferQ
from guiders.token.vas import VAS

__all__ = [
    "ARGS",
    "VAS",
    "GuideState",
    "Implicit",
    "LookBack",
    "Penalty",
    "QGuidance",
    "Rules",
    "Speculative",
    "Steered",
    "TaskArithmetic",
    "TokenGuide",
    "TransferQ",
    "View",
]
