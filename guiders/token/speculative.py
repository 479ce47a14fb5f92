"""Speculative guidance: the tuned model drafts each token, and the guided distribution accepts or replaces it."""

from dataclasses import dataclass

from guiders.token.implicit import Implicit


@dataclass(frozen=True)
class Speculative(Implicit):
    """`Implicit`, whose tokens are drafts of π⁺: kept with probability min(1, π_g/π⁺), else drawn from the residual
    ``(π_g − π⁺)₊`` (Leviathan et al. 2023, arXiv 2211.17192, with π_g as the target).

    The law of the responses is that of `Implicit`, exactly. One token is drafted at a time and every model reads every
    token, so nothing is saved here: it shows what a decoder that drafts ahead would write, and where the responses of
    `Implicit` and of π⁺ part.

    Args:
        tuned: π⁺, the draft. untuned: π⁻. weight: w.
    """

    draft = 0

    def off(self) -> Implicit:
        """Weight 0, and no drafts: the base, token for token."""
        return Implicit(self.tuned, self.untuned, 0.0)
