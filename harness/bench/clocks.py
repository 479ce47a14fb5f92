"""Clocks, peak memory, and what the machine does at best."""

import ctypes
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Timing:
    """Seconds by both clocks, and the most bytes held (process: resident; GPU: allocated)."""

    wall: float
    cpu: float
    peak_bytes: int

    def by(self, clock: str) -> float:
        """Seconds by the named clock, "wall" or "cpu"."""
        return getattr(self, clock)

    def row(self) -> dict:
        return asdict(self)


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: Callable[[], object], device: torch.device) -> Timing:
    """Run `work()` and say what it took."""
    _reset_peak(device)
    synchronise(device)
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    synchronise(device)
    return Timing(time.perf_counter() - wall, time.process_time() - cpu, _peak(device))


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif CLEAR.exists():
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim:
            trim(0)  # memory that an earlier variant freed is not this one's
        try:
            CLEAR.write_text("5", encoding="ascii")  # Linux: the peak of resident memory starts anew
        except OSError:
            return


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if STATUS.exists():
        for line in STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def best(work: Callable[[], object], device: torch.device, clock: str, repeats: int = 3) -> float:
    """Seconds of the fastest of several runs of `work()`."""
    return min(timed_once(work, device, clock) for _ in range(repeats))


def timed_once(work: Callable[[], object], device: torch.device, clock: str) -> float:
    """Seconds of one run of `work()`."""
    now = time.perf_counter if clock == "wall" else time.process_time
    synchronise(device)
    start = now()
    work()
    synchronise(device)
    return now() - start


class Gauge:
    """A fixed matrix product, run before every variant: its rate shows whether the machine has held its speed."""

    ROWS, WIDTH, TIMES = 256, 1024, 8

    def __init__(self, device: torch.device, dtype: torch.dtype, clock: str):
        self.device, self.clock = device, clock
        self.a = torch.randn(self.ROWS, self.WIDTH, device=device).to(dtype)
        self.b = torch.randn(self.WIDTH, self.WIDTH, device=device).to(dtype)
        self.rate()

    def rate(self) -> float:
        """Multiplications a second, best of three."""

        def product() -> None:
            for _ in range(self.TIMES):
                self.a @ self.b

        return self.TIMES * self.ROWS * self.WIDTH**2 / best(product, self.device, self.clock)


def copy_bandwidth(device: torch.device, clock: str) -> float:
    """Bytes a second that a copy moves (read and written), measured on a tensor larger than any cache."""
    count = (1 << 30) if device.type == "cuda" else (1 << 27)
    source = torch.zeros(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * count / best(lambda: target.copy_(source), device, clock, repeats=5)
