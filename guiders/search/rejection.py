"""Rejection sampling: the first of N draws that is accepted, and the best where none is."""

from dataclasses import dataclass

import torch

from guiders.search.one_of_n import OneOfN, check_finite, check_positive


@dataclass(frozen=True)
class Rejection(OneOfN):
    """The first of N draws that is accepted, each with probability ``min(1, exp((r − most) / β))``; where none is, the
    best one. Accepted draws follow ``π(y) exp(r(y)/β) / Z`` exactly where no value is above `most`.

    Without `most` the largest of the N values takes its place, as in statistical rejection sampling optimisation (Liu
    et al. 2024, arXiv 2309.06657): some draw is always accepted, and the law is biased, less so the larger N is.

    All N are drawn, side by side, and counted. `RejectionInTurn` stops at the one that is accepted, which the largest
    of N values does not allow.

    Args:
        n: N. beta: β. most: the largest value that a response can have, or None.

    Raises:
        GuiderError: n below 1; a β that is not above 0; a `most` that is not a number.
    """

    beta: float = 0.5
    most: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("rejection", beta=self.beta)
        check_finite("rejection", most=self.most)

    def shares(self, values: torch.Tensor) -> torch.Tensor:
        most = values.amax(-1, keepdim=True) if self.most is None else self.most
        return first_accepted(values, most, self.beta)


def first_accepted(values: torch.Tensor, most: torch.Tensor | float, beta: float) -> torch.Tensor:
    """``[..., N]`` probabilities that a draw is the first one accepted, with ``min(1, exp((r − most) / β))``; what is
    left, where none is, goes to the best one."""
    accepted = ((values - most) / beta).clamp(max=0).exp()
    none_before = (1 - accepted).cumprod(-1)
    shares = accepted * torch.cat([torch.ones_like(none_before[..., :1]), none_before[..., :-1]], -1)
    return shares.scatter_add(-1, values.argmax(-1, keepdim=True), none_before[..., -1:])
