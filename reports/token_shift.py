"""How far guided tokens lie from what the base would have said (Lin et al. 2024, URIAL, section 2): from the traces."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class TokenShift:
    """Shares of emitted tokens by their place in the base's own order, given the same text before them.

    Attributes:
        first: the base's most likely token ("unshifted"). second_or_third: "marginal". later: "shifted".
        tokens: how many were counted.
    """

    first: float
    second_or_third: float
    later: float
    tokens: int


def token_shift(traces: Iterable[object]) -> TokenShift | None:
    """The shares over all tokens of some responses; None where no trace says a token's place.

    Args:
        traces: of records (`guiders.decoding.trace`), None where a record has none.
    """
    ranks = [rank for trace in traces if isinstance(trace, dict) for rank in trace.get("base_ranks") or []]
    if not ranks:
        return None
    first, later = sum(rank == 0 for rank in ranks), sum(rank > 2 for rank in ranks)
    n = len(ranks)
    return TokenShift(first / n, (n - first - later) / n, later / n, n)
