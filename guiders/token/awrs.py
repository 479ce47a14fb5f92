"""Adaptive weighted rejection sampling: a constraint that is obeyed by rejection, and what it says of its mass."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from guiders.sampling import more_numbers
from guiders.token.along_rows import AlongRows
from guiders.token.constraint import Constrained, ConstrainedState, Constraint, OfGuider
from guiders.token.protocol import GuideState, View

if TYPE_CHECKING:
    from guiders.guider import Guider


@dataclass(frozen=True)
class AWRS(Constrained):
    """Adaptive weighted rejection sampling (Lipkin et al. 2025, arXiv 2504.05410).

    Tokens are drawn from the guided distribution p, without replacement, until one is allowed: that is a draw of the
    locally constrained law. With q_i the probability of the i-th rejected token among what was left then, and q that of
    the accepted one, a further token is drawn. The weight w is ``Π (1 − q_i)`` if it is allowed too, ``Π (1 − q_i) q``
    if not; its mean is the allowed mass Z, whatever token was accepted. Log-weights add ``log w − log Z``, as the
    draw's own log-probability has Z in it: in `TwistedSMC`, w then stands where Z would (with the value 0, ``log Ẑ`` of
    one particle is ``Σ log w``), and its answers follow the globally constrained law.

    The method spares a checker that looks at one token at a time: `Generation.notes` has the ``constraint_checks`` that
    it takes, by token. A `Constraint` gives the whole mask, so that here the token is drawn under the mask and the
    rejections given the token, in the same joint law; nothing is saved, and masking, whose weight is Z itself, is
    the better choice of the two. At temperature 0 it is masking. Cuts (top-k and the like) come after the mask.

    Args:
        constraint: what is allowed; the guider's where none is given. on: False: the base.

    Raises:
        GuiderError: as of `Constrained`; neither the guide nor the guider has a constraint.
    """

    constraint: Constraint = field(default_factory=OfGuider)
    revisable = False

    def state(self, guider: "Guider", slots: int) -> GuideState:
        return _State(self, guider, slots)


class _State(ConstrainedState):
    """The race of all ids: i arrives at an exponential time of rate p_i, so that the order of arrival is that of draws
    without replacement. The first allowed one comes at a time of rate Z, whichever it is."""

    def __init__(self, guide: AWRS, guider: "Guider", slots: int):
        super().__init__(guide, guider, slots)
        self.checks = AlongRows(slots, guider.search, guider.base.device)

    def guide(self, view: View) -> torch.Tensor:
        guided = super().guide(view)
        if not (self.settings.on and view.temperature):
            self.checks.note(view.running * 0.0)
            return guided
        self.p = (self.free.double() / view.temperature).softmax(-1)
        self.mass = self.p.masked_fill(~self.masks, 0).sum(-1)
        numbers = more_numbers(view.numbers(1)[..., 0], self.p.shape[-1] + 2)
        times = -numbers[..., 2:].log() / self.p
        rejected = ~self.masks & (times < (-numbers[..., :1].log() / self.mass[..., None]))
        self.left = 1 - self.p.masked_fill(~rejected, 0).sum(-1)
        self.number = numbers[..., 1]
        self.checks.note(rejected.sum(-1) + 2)
        return guided

    def weigh(self, view: View, tokens: torch.Tensor) -> torch.Tensor | None:
        stuck = super().weigh(view, tokens)
        if not (self.settings.on and view.temperature):
            return stuck
        own = self.p.expand(*tokens.shape, -1).gather(-1, tokens[..., None])[..., 0]
        also = self.number * (self.left - own) < self.mass - own  # what is left then races on
        weights = (torch.where(also, self.left, own) / self.mass).log()
        return weights if stuck is None else weights + stuck

    def admit(self, slots: list[int], prompts: list) -> None:
        self.checks.admit(slots)

    def commit(self, parents: torch.Tensor, rows: torch.Tensor, counts: torch.Tensor, identity: bool) -> None:
        super().commit(parents, rows, counts, identity)
        self.checks.commit(parents, rows, counts)

    def keep(self, slots: torch.Tensor) -> None:
        super().keep(slots)
        self.checks.keep(slots)

    def shrink(self, longest: int) -> None:
        self.checks.shrink(longest)

    def notes(self, slot: int, survivor: int) -> dict[str, float]:
        return super().notes(slot, survivor) | {"constraint_checks": self.checks.mean(slot, survivor)}
