"""Adaptive sampling with approximate expected futures: masking that learns how much of a beginning can be completed."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from guiders.token.constraint import Constrained, ConstrainedState, Constraint, OfGuider
from guiders.token.protocol import GuideState, View

if TYPE_CHECKING:
    from guiders.guider import Guider


@dataclass(frozen=True)
class ASAp(Constrained):
    """Adaptive sampling with approximate expected futures (ASAp; Park et al. 2024, "Grammar-Aligned Decoding", arXiv
    2405.21047).

    A token t after u is drawn in proportion to ``p(t|u) c(ut)``, with p the guided distribution and c an upper bound of
    the mass of allowed responses that go on from there: 0 where t is not allowed, 1 where ut was not met before, else
    ``c(u) = Σ_t p(t|u) c(ut)``. The first draw is that of masking. Later draws of a prompt come nearer to p given that
    the response is allowed, the globally constrained law, and follow it once all that can be met was met.

    What was met is remembered for the prompt, from its first token to its answer: give it `LastOfN`. (The authors go on
    from one answer to the next; answers would depend on the order then, and a resumed run would not repeat them.) At
    temperature 0 it is masking, without what is known to lead nowhere.

    Args:
        constraint: what is allowed; the guider's where none is given. on: False: the base.

    Raises:
        GuiderError: as of `Constrained`; neither the guide nor the guider has a constraint.
    """

    constraint: Constraint = field(default_factory=OfGuider)

    def state(self, guider: "Guider", slots: int) -> GuideState:
        return _State(self, guider, slots)


@dataclass
class _Met:
    """A beginning that was met: its last token's probability, the allowed mass of the next, and c."""

    probability: float = 1.0
    mass: float = 1.0
    bound: float = 1.0
    after: dict[int, "_Met"] = field(default_factory=dict)

    def update(self) -> None:
        self.bound = max(0.0, self.mass - sum(then.probability * (1 - then.bound) for then in self.after.values()))


class _State(ConstrainedState):
    """A tree of what was met for every slot."""

    def __init__(self, guide: ASAp, guider: "Guider", slots: int):
        super().__init__(guide, guider, slots)
        self.trees = [_Met() for _ in range(slots)]

    def guide(self, view: View) -> torch.Tensor:
        guided = super().guide(view)
        self.met: list[tuple[int, _Met]] = []  # of every row that goes on: its place among all, and its beginning
        if not self.settings.on:
            return guided
        self.p = (self.free.double() / (view.temperature or 1.0)).softmax(-1).flatten(0, -2)
        dead = torch.zeros_like(self.masks) if self.stuck is None else self.stuck[..., None]
        mass = self.p.masked_fill(~(self.masks & ~dead).flatten(0, -2), 0).sum(-1).tolist()
        texts, lengths = (x.flatten(0, 2).tolist() for x in view.tokens())
        each = view.running[0].numel()
        places, tokens, bounds = [], [], []
        for row, runs in enumerate(view.running.flatten().tolist()):
            if not runs:
                continue
            path = [self.trees[row // each]]
            for token in texts[row][: lengths[row]]:
                path.append(path[-1].after.setdefault(token, _Met()))
            path[-1].mass = mass[row]
            for met in reversed(path):  # to the root, as far as a bound changes
                before = met.bound
                met.update()
                if met.bound == before:
                    break
            self.met.append((row, path[-1]))
            for token, then in path[-1].after.items():
                places.append(row)
                tokens.append(token)
                bounds.append(then.bound)
        if not places or all(bound == 1 for bound in bounds):
            return guided
        known = torch.zeros_like(self.p)
        log = torch.tensor(bounds, dtype=torch.float64, device=known.device).log()
        known[places, tokens] = log.masked_fill(log.isneginf(), -1e9) * (view.temperature or 1.0)
        return (guided.double() + known.view(guided.shape)).to(guided.dtype)

    def weigh(self, view: View, tokens: torch.Tensor) -> torch.Tensor | None:
        if self.settings.on:
            drawn = tokens.reshape(len(self.p), -1)  # at a chunk's first column, all successors
            probabilities, ids = self.p.gather(-1, drawn).tolist(), drawn.tolist()
            for row, met in self.met:
                for token, probability in zip(ids[row], probabilities[row], strict=True):
                    met.after.setdefault(token, _Met()).probability = probability
        return super().weigh(view, tokens)

    def admit(self, slots: list[int], prompts: list) -> None:
        for slot in slots:
            self.trees[slot] = _Met()

    def keep(self, slots: torch.Tensor) -> None:
        super().keep(slots)
        self.trees = [self.trees[slot] for slot in slots.tolist()]
