"""How long blocks take when several workers share them."""

import heapq
from collections.abc import Iterable


def makespan(blocks: Iterable[float], workers: int) -> float:
    """Seconds until the last worker is done, where whoever is free takes the next block (list scheduling, Graham 1966:
    at most twice the best there is).

    Args:
        blocks: seconds of each, in the order in which they are handed out. workers: 1 or more.
    """
    busy = [0.0] * workers
    for seconds in blocks:
        heapq.heappush(busy, heapq.heappop(busy) + seconds)
    return max(busy)
