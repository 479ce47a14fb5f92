"""Look-back decoding: where the next-token distribution repeats an earlier one, the draw is among the top k."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from guiders.errors import GuiderError
from guiders.token.protocol import GuideState, TokenGuide, View
from guiders.token.top_k import check_k, check_within, likeliest, only

if TYPE_CHECKING:
    from guiders.guider import Guider


@dataclass(frozen=True)
class LookBack(TokenGuide):
    """Where ``min_j KL(p_t ‖ p_j) < α`` over the response's earlier steps, the token is drawn among the base's k
    likeliest; elsewhere as without this guide, or, as its authors do, the likeliest is taken (Xu et al. 2023, arXiv
    2305.13477). p is the base's distribution.

    It keeps the distributions of a response in memory: T · V numbers for each row.

    Args:
        alpha: α in nats; 0 is off. k: of the base's likeliest ids. greedy: take the likeliest token where nothing
            repeats.

    Raises:
        GuiderError: α below 0; k below 1 or, once the models are read, above the vocabulary.
    """

    alpha: float = 0.5
    k: int = 10
    greedy: bool = False
    memory = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.alpha) and self.alpha >= 0):
            raise GuiderError(f"look-back: alpha={self.alpha} is out of range; it must be 0 or more")
        check_k(self.k)

    def off(self) -> "LookBack":
        """α = 0, and nothing greedy."""
        return replace(self, alpha=0.0, greedy=False)

    def state(self, guider: "Guider", slots: int) -> GuideState:
        check_within(self.k, guider.vocabulary)
        return _State(self, slots, guider)


class _State(GuideState):
    def __init__(self, settings: LookBack, slots: int, guider: "Guider"):
        self.settings, self.each = settings, guider.search.successors
        shape = (slots, guider.search.survivors, 0)
        self.past = torch.zeros(*shape, guider.vocabulary, device=guider.base.device)  # log p, [P, S, T, V]
        self.there = torch.zeros(shape, dtype=torch.bool, device=guider.base.device)  # is that step the survivor's?
        self.chunk: list[torch.Tensor] = []  # log p of the chunk's columns, [P, S, K or 1, V]

    def admit(self, slots: list[int], prompts: list) -> None:
        self.there[slots] = False
        self.chunk = []

    def guide(self, view: View) -> torch.Tensor:
        if not self.settings.alpha:
            return self._kept(view)
        log_p = view.base.log_softmax(-1)
        p = log_p.exp()
        entropy = torch.special.entr(p).sum(-1)
        # −Σ p_t log p_j; where p_t is 0 nothing is added, whatever p_j is
        past = torch.einsum("pskv,pstv->pskt", p, self.past.to(p).clamp_min(-1e30))
        divergence = (-past - entropy[..., None]).masked_fill(~self.there[:, :, None], torch.inf)
        for column in self.chunk:
            here = -(p * column.to(p).clamp_min(-1e30)).sum(-1) - entropy
            divergence = torch.cat([divergence, here[..., None]], -1)
        least = torch.full_like(entropy, torch.inf)
        repeats = torch.minimum(least, divergence.amin(-1) if divergence.shape[-1] else least) < self.settings.alpha
        self.chunk.append(log_p)
        ids = likeliest(view.base, self.settings.k)
        again = only(ids, view.guided.gather(-1, ids), view.guided)
        return torch.where(repeats[..., None], again, self._kept(view))

    def _kept(self, view: View) -> torch.Tensor:
        if not self.settings.greedy:
            return view.guided
        best = view.guided.argmax(-1, keepdim=True)
        return only(best, view.guided.gather(-1, best), view.guided)

    def commit(self, parents: torch.Tensor, rows: torch.Tensor, counts: torch.Tensor, identity: bool) -> None:
        if not self.chunk:
            return
        columns = torch.stack([column.expand(-1, -1, self.each, -1) for column in self.chunk], 3).flatten(1, 2)
        new = columns.gather(1, rows[..., None, None].expand(-1, -1, *columns.shape[2:]))
        old = self.past.gather(1, parents[..., None, None].expand(-1, -1, *self.past.shape[2:]))
        there = self.there.gather(1, parents[..., None].expand(-1, -1, self.there.shape[2]))
        inside = torch.arange(len(self.chunk), device=counts.device) < counts[..., None]
        self.past, self.there = torch.cat([old.to(new), new], 2), torch.cat([there, inside], 2)
        self.chunk = []

    def keep(self, slots: torch.Tensor) -> None:
        self.past, self.there = self.past[slots], self.there[slots]

    def shrink(self, longest: int) -> None:
        used = self.there.flatten(0, 1).any(0)
        self.past, self.there = self.past[:, :, used], self.there[:, :, used]
