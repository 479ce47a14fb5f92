"""Which item a worker gets next: one whose models it has loaded already, where there is one."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator

from harness.backends.protocol import Batch, Item
from harness.models.assemble import places


class Queue:
    """Items that wait, drawn from an iterable as there is room.

    Args:
        items: all of them, in the order in which they are wanted. window: items that are looked at at once.
    """

    def __init__(self, items: Iterable[Item], window: int):
        self._source: Iterator[Item] | None = iter(items)
        self._window = window
        self._waiting: list[tuple[Item, frozenset[str]]] = []
        self._loaded: dict[int, set[str]] = {}

    @property
    def is_empty(self) -> bool:
        self._draw()
        return not self._waiting

    def next_for(self, worker: int) -> Item | None:
        """The first item for which the worker lacks the fewest models; of equals, one that few workers could take
        instead. None where nothing waits."""
        self._draw()
        if not self._waiting:
            return None
        loaded = self._loaded.setdefault(worker, set())
        holders = Counter(model for other in self._loaded.values() for model in other)

        def cost(place: int) -> tuple[int, int, int]:
            lacking = self._waiting[place][1] - loaded
            return len(lacking), sum(holders[model] for model in lacking), place

        item, models = self._waiting.pop(min(range(len(self._waiting)), key=cost))
        loaded |= models
        return item

    def put_back(self, item: Item) -> None:
        """An item whose worker died comes first."""
        self._waiting.insert(0, (item, _models(item)))

    def forget(self, worker: int) -> None:
        """The worker died, and with it the models that it had loaded."""
        self._loaded.pop(worker, None)

    def _draw(self) -> None:
        while self._source is not None and len(self._waiting) < self._window:
            item = next(self._source, None)
            if item is None:
                self._source = None
            else:
                self._waiting.append((item, _models(item)))


def _models(item: Item) -> frozenset[str]:
    if isinstance(item, Batch):
        return frozenset([repr(item.model)])
    return frozenset(json.dumps(spec, sort_keys=True) for _, spec in places(item.guider))
