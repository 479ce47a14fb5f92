"""One forward pass at a time on the same weights.

While a pass runs, its model is not as it was: its attention is ours, its layers may multiply by packed weights and its
head writes to a lane's memory, an adapter is on. Two threads whose guiders share a model take turns, pass by pass;
guiders that share none don't wait for each other.
"""

import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

# By the identity of a configuration: all that share layers share it (adapters, value heads on a backbone). It can't be
# a key by itself, as it compares by what it holds, nor carry the lock, as it is copied and saved.
_locks: dict[int, threading.RLock] = {}
_making = threading.Lock()


@contextmanager
def exclusive(model: torch.nn.Module) -> Iterator[None]:
    """Inside, no other thread runs a pass of this model; the same thread may enter again."""
    with ExitStack() as held:
        for lock in _of(model):
            held.enter_context(lock)
        yield


def configurations(model: torch.nn.Module) -> list:
    """The model's and its backbone's, where the attention function is set; each once."""
    return list({id(m.config): m.config for m in (model, getattr(model, "backbone", model))}.values())


def _of(model: torch.nn.Module) -> list:
    """The model's locks, in an order that all threads keep to, so that none waits in a circle."""
    locks = []
    for config in sorted(configurations(model), key=id):
        if id(config) not in _locks:
            with _making:
                if id(config) not in _locks:
                    _locks[id(config)] = threading.RLock()
                    weakref.finalize(config, _locks.pop, id(config), None)
        locks.append(_locks[id(config)])
    return locks
