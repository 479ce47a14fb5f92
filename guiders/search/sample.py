"""No search: one response is drawn."""

from dataclasses import dataclass

QUANTUM = 16  # steps between looks at which rows have ended: a look costs a wait for the device


@dataclass(frozen=True)
class Sample:
    """Draw one response from the (guided) distribution.

    Every search says how many survivors (S) a prompt has, how many successors (K) each gets, and after how many
    tokens they meet.
    """

    @property
    def survivors(self) -> int:
        return 1

    @property
    def successors(self) -> int:
        return 1

    @property
    def length(self) -> int:
        return QUANTUM

    @property
    def selects(self) -> bool:
        """Do survivors compete at every chunk boundary?"""
        return False

    @property
    def released(self) -> bool:
        """Does the search keep to the letter of released code? (see `ChunkBeam`)"""
        return False

    def divergence(self, tokens: int, limit: int) -> float:
        """A response's part of the bound of KL(this search ‖ no search), in nats.

        The bound is the mean of this over the responses that the search gives.

        Args:
            tokens: that the response has. limit: tokens that it could have had.
        """
        return 0.0
