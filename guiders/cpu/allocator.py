"""Memory that a decoding run frees is kept for its next step.

The C library gives large blocks back to the kernel as they are freed, and the kernel clears every page anew when the
next step asks for as much: up to a third of a step on a CPU. How large "large" is, glibc adapts to what a process has
freed before, so that the cost comes and goes with the history of the process.
"""

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from guiders.cpu.switch import enabled

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT = ((M_MMAP_THRESHOLD, 1 << 30), (M_TRIM_THRESHOLD, (1 << 31) - 1))
# what glibc's own adaptation ends at, and the largest threshold that older versions take
USUAL = ((M_MMAP_THRESHOLD, 1 << 25), (M_TRIM_THRESHOLD, 1 << 26))
_inside = 0
_counting = threading.Lock()


@contextmanager
def keeping_memory(device: torch.device) -> Iterator[None]:
    """Inside, memory that is freed on a CPU stays with the process; afterwards what is free goes back.

    Does nothing for other devices, whose allocators keep their memory, and where the C library is not glibc.
    """
    global _inside
    libc = _glibc() if device.type == "cpu" and enabled("allocator") else None
    if libc is None:
        yield
        return
    with _counting:
        _inside += 1
        for name, value in USUAL + KEPT:
            libc.mallopt(name, value)
    try:
        yield
    finally:
        with _counting:
            _inside -= 1
            if not _inside:
                for name, value in USUAL:
                    libc.mallopt(name, value)
                libc.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") and hasattr(libc, "mallopt") else None
