"""Cautious next-token prediction: where the base is uncertain, several trials up to the next punctuation."""

import math
from dataclasses import dataclass

import torch

from guiders.errors import GuiderError
from guiders.search.ends import Punctuation, entropy
from guiders.search.protocol import Boundary, Search, Selection


@dataclass(frozen=True)
class CNTP(Search):
    """Up to K trials run to the next punctuation, and the one of the lowest perplexity goes on (CNTP; Wang et al. 2025,
    "Cautious Next Token Prediction", arXiv 2507.03038).

    Before a token of which the base's entropy is H nats there are ``⌊1 + (K − 1) c⌋`` trials, c = (H − low) / (high −
    low) cut to 0 to 1; where that is one, a token is sampled and the entropy looked at again. A trial's value is what
    it adds to the response's, by token: with `Likelihood` of the base, its mean log-likelihood, which is highest where
    the perplexity is lowest. No divergence is given: how many trials there were is not known of a response.

    Args:
        successors: K. low, high: entropies in nats. marks: the punctuation. most: tokens of a trial at most.

    Raises:
        GuiderError: K below 1; entropies that are no range; no marks, or fewer than one token.
    """

    successors: int = 10
    low: float = 0.01
    high: float = 1.5
    marks: str = ".,!?;:\n"
    most: int = 64

    def __post_init__(self) -> None:
        if self.successors < 1:
            raise GuiderError(f"CNTP: successors={self.successors} is out of range; it must be 1 or more")
        if not -math.inf < self.low < self.high < math.inf:
            raise GuiderError(f"CNTP: low={self.low} and high={self.high} are no range; set low below high")
        _ = self.ends  # which checks the others

    @property
    def ends(self) -> Punctuation:
        return Punctuation(self.marks, self.most)

    @property
    def needs_draws(self) -> bool:
        return self.successors > 1

    def tries(self, logits: torch.Tensor) -> torch.Tensor:
        share = ((entropy(logits) - self.low) / (self.high - self.low)).clamp(0, 1)
        return (1 + (self.successors - 1) * share).floor().long()

    def select(self, boundary: Boundary) -> Selection:
        added = (boundary.values - boundary.before) / boundary.counts.clamp_min(1)
        return Selection(added.masked_fill(~boundary.valid, -torch.inf).argmax(-1, keepdim=True))
