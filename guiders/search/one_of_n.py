"""Rules that return one of N independent draws, each with a probability that its value and the others' give it."""

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch

from guiders.errors import GuiderError
from guiders.search.best_of_n import BestOfN
from guiders.search.protocol import Boundary


@dataclass(frozen=True)
class OneOfN(BestOfN):
    """One of `n` independent responses, drawn by `shares`. Its KL from the base is at most log n − (n−1)/n, whatever
    the shares are (`guiders.search.best_of_n.one_of`).

    Raises:
        GuiderError: n below 1.
    """

    @property
    def needs_draws(self) -> bool:
        return self.n > 1

    @abstractmethod
    def shares(self, values: torch.Tensor) -> torch.Tensor:
        """``[..., N]`` probabilities of the draws, which add up to 1, from their values in the order of the draws."""

    def choose(self, boundary: Boundary) -> torch.Tensor:
        return drawn(self.shares(boundary.values), boundary)


def drawn(shares: torch.Tensor, boundary: Boundary) -> torch.Tensor:
    """``[P]`` places drawn with the probabilities ``[P, N]``, by one number of the search's own."""
    below = shares.double().cumsum(-1) < boundary.numbers(1)  # a rounded sum may end just below 1
    last = (shares > 0) * torch.arange(shares.shape[-1], device=shares.device)
    return torch.minimum(below.sum(-1), last.amax(-1))


def check_positive(search: str, **settings: float) -> None:
    """Raises GuiderError for the first of the settings that is not a finite number above 0."""
    for name, value in settings.items():
        if not 0 < value < math.inf:
            raise GuiderError(f"{search}: {name}={value} is out of range; it must be above 0 and finite")


def check_finite(search: str, **settings: float | None) -> None:
    """Raises GuiderError for the first of the settings that is given and not a finite number."""
    for name, value in settings.items():
        if value is not None and not math.isfinite(value):
            raise GuiderError(f"{search}: {name}={value} is not a finite number; set one")
