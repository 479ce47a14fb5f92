"""φ-decoding: candidate steps, each with a look at what could follow, drawn by advantage and by agreement."""

import math
from dataclasses import dataclass

import torch

from guiders.errors import GuiderError
from guiders.search.clusters import clusters
from guiders.search.ends import Punctuation
from guiders.search.protocol import Boundary, Search, Selection

ROUNDING = 1e-9  # nats: the lower of two steps is at μ − σ, and not below


@dataclass(frozen=True)
class PhiDecoding(Search):
    """Foresight sampling (Xu et al. 2025, "φ-Decoding", arXiv 2503.13288).

    In a round each of M beams draws N steps. Of these M·N candidates, those whose step has a mean log-probability below
    μ − σ of them all are given up (the M best stay). Each of the others draws one more step, its foresight, of mean
    log-probability F; its advantage is A = F less the F that its beam was chosen with. M of them are drawn without
    replacement, with ``w = ½ softmax(A / τ) + ½ softmax(c)``, c the share of candidates in the foresight's cluster; the
    foresights are taken back. After `rounds`, or once the largest cluster has a share of at least `enough` in a round
    from `least` on, the M beams are finished, and one is drawn by w of whole responses: A their mean log-probability.
    The value is the log-likelihood, `Likelihood` of the base.

    A candidate that has ended has no foresight: its F is that of its last step, then its A is 0. The authors' code
    looks ahead to the end of the response, not one step; leaves out candidates whose A is not above 0; and starts
    k-means at random (`guiders.search.clusters` does not). No bound of the divergence is known here.

    Args:
        width: M. rollouts: N. clusters: of foresights. temperature: τ. rounds, least, enough: see above. spread: how
            many σ below μ. marks, most: where a step ends (`Punctuation`).

    Raises:
        GuiderError: a setting out of range.
    """

    width: int = 4
    rollouts: int = 4
    clusters: int = 3
    temperature: float = 0.1
    rounds: int = 8
    least: int = 4
    enough: float = 0.69
    spread: float = 1.0
    marks: str = "\n"
    most: int = 64

    def __post_init__(self) -> None:
        checks = {name: (getattr(self, name) >= 1, "1 or more") for name in ("width", "rollouts", "clusters", "rounds")}
        checks["least"] = (self.least >= 1, "1 or more")
        checks["temperature"] = (0 < self.temperature < math.inf, "above 0")
        checks["enough"] = (0 < self.enough <= 1, "above 0 and at most 1")
        checks["spread"] = (self.spread >= 0, "0 or more")
        for name, (fine, must) in checks.items():
            if not fine:
                raise GuiderError(f"phi-decoding: {name}={getattr(self, name)} is out of range; it must be {must}")
        _ = self.ends  # which checks the others

    @property
    def survivors(self) -> int:
        return self.width * self.rollouts

    @property
    def ends(self) -> Punctuation:
        return Punctuation(self.marks, self.most)

    @property
    def revises(self) -> bool:
        return True

    @property
    def needs_draws(self) -> bool:
        return self.survivors > 1

    def select(self, boundary: Boundary) -> Selection:
        """Each prompt in its phase: after a step, after a foresight, or while its beams are finished.

        Log-weights carry the F that the beam was chosen with, after an ended candidate's step its A; minus infinity
        marks an empty place, and infinity a beam that is being finished.
        """
        every = torch.arange(self.survivors, device=boundary.limits.device).expand(len(boundary.limits), -1)
        finishing = (boundary.log_weights == torch.inf).any(-1, keepdim=True)
        pruned = torch.where(finishing, boundary.log_weights, self._pruned(boundary))
        if not bool((~finishing & (boundary.chunks % 2 == 0)[:, None]).any()):
            return Selection(every, log_weights=pruned, idle=pruned.isneginf())
        foreseen = (boundary.chunks % 2 == 0)[:, None] & ~finishing
        rows, weights = self._chosen(boundary)
        rows, weights = torch.where(foreseen, rows, every), torch.where(foreseen, weights, pruned)
        kept = boundary.lengths - torch.where(foreseen, boundary.counts, 0)
        return Selection(rows, kept.gather(1, rows), weights, idle=weights.isneginf())

    def choose(self, boundary: Boundary) -> torch.Tensor:
        """One of the beams, by whole responses."""
        there = ~boundary.log_weights.isneginf()
        mean = boundary.values / boundary.lengths.clamp_min(1)
        numbers = boundary.numbers(2 * self.survivors)[:, self.survivors :]  # `select` may have used the others
        return self._drawn(self.weights(mean, boundary.responses(), there)[0], numbers)[:, 0]

    def weights(
        self, advantages: torch.Tensor, texts: list[list[list[int]]], there: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """w ``[P, R]`` of the candidates that are `there`, 0 of others, and the largest cluster's share ``[P]``.

        Args:
            advantages: ``[P, R]``. texts: ``[P][R]`` what is clustered.
        """
        labels = clusters(texts, there, self.clusters).masked_fill(~there, -1)
        together = (labels[:, :, None] == labels[:, None]) & there[:, None]
        share = together.sum(-1).double() / there.sum(-1, keepdim=True)
        parts = (x.double().masked_fill(~there, -torch.inf).softmax(-1) for x in (advantages / self.temperature, share))
        return sum(parts, torch.zeros(())) / 2, share.masked_fill(~there, 0).amax(-1)

    def _pruned(self, boundary: Boundary) -> torch.Tensor:
        """Log-weights ``[P, R]`` after a step: minus infinity for what is given up, A for what is over."""
        there = ~boundary.log_weights.isneginf()
        mean = _added(boundary)
        stepped = there & (boundary.counts > 0)
        among = mean.masked_fill(~stepped, torch.nan)
        centre = among.nanmean(-1, keepdim=True)
        deviation = (among - centre).square().nanmean(-1, keepdim=True).sqrt()
        place = mean.masked_fill(~stepped, -torch.inf).argsort(dim=-1, descending=True, stable=True).argsort(-1)
        low = stepped & (mean < centre - self.spread * deviation - ROUNDING) & (place >= self.width)
        ended = torch.where(stepped, mean - boundary.log_weights, 0.0)
        return torch.where(boundary.over & there, ended, boundary.log_weights).masked_fill(low, -torch.inf)

    def _chosen(self, boundary: Boundary) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows ``[P, M·N]`` of the beams, N each, and their log-weights."""
        before, goes_on = boundary.log_weights, boundary.counts > 0
        there, foresight = ~before.isneginf(), _added(boundary)
        lengths, counts = boundary.lengths.tolist(), boundary.counts.tolist()
        texts = [
            [text[length - n :] for text, length, n in zip(*one, strict=True)]
            for one in zip(boundary.responses(), lengths, counts, strict=True)
        ]
        chance, share = self.weights(torch.where(goes_on, foresight - before, before), texts, there)
        rows = self._drawn(chance, boundary.numbers(self.survivors)).repeat_interleave(self.rollouts, 1)
        round_ = boundary.chunks // 2
        finish = (round_ >= self.rounds) | ((round_ >= self.least) & (share >= self.enough))
        first = torch.arange(self.survivors, device=rows.device) % self.rollouts == 0
        alone = finish[:, None] | ~goes_on.gather(1, rows)  # continued once, or not at all
        weights = torch.where(finish[:, None], torch.inf, foresight.gather(1, rows))
        return rows, weights.masked_fill((chance.gather(1, rows) == 0) | (alone & ~first), -torch.inf)

    def _drawn(self, chance: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """M places ``[P, M]`` drawn one after the other in proportion to ``[P, R]``, those of chance 0 last."""
        times = -numbers.log() / chance  # exponential times come in the order of successive draws
        return times.argsort(dim=-1, stable=True)[:, : self.width]


def _added(boundary: Boundary) -> torch.Tensor:
    """Mean log-probability ``[P, R]`` of the tokens that the chunk added; 0 where it added none."""
    added = (boundary.values - boundary.before).double() / boundary.counts.clamp_min(1)
    return added.masked_fill(boundary.counts == 0, 0.0)
