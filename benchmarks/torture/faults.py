"""The file system says no: every kind of call, with every error of its own, at several places; and full disks.

A fault is survived where the run ends with one line ``error: …`` and exit code 2 (or does not need what failed and ends
whole), and where the same command, once the fault is gone, leaves what an undisturbed run leaves.
"""

import errno
import random
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

from benchmarks.torture import events
from benchmarks.torture.attempt import Attempt, attempt
from benchmarks.torture.case import Case, Skipped, drawn
from benchmarks.torture.scene import Scene

FULL = ("ENOSPC", "EDQUOT", "EROFS")  # last until somebody makes room
ERRORS = {
    "open": (*FULL, "EACCES", "EPERM", "EIO", "ESTALE", "ENAMETOOLONG", "EMFILE", "ENOMEM"),
    "write": (*FULL, "EIO", "EFBIG", "ESTALE"),
    "sync": (*FULL, "EIO"),
    "rename": (*FULL, "EACCES", "EPERM", "EIO", "ESTALE"),
    "mkdir": (*FULL, "EACCES", "EPERM", "EIO", "ENAMETOOLONG", "EMLINK"),
    "remove": ("EACCES", "EPERM", "EIO", "EROFS"),
    "read": ("EACCES", "EIO", "ESTALE", "EMFILE"),
    "lock": ("ENOLCK", "EIO"),
}
PLACES = 3  # of each kind and error: the first call, the last, and one between
DISKS = (16, 32, 48, 64, 96, 128, 256)  # kilobytes


def cases(scenes: dict[str, Scene], count: int, seed: int) -> list[Case]:
    """So many faults, a tenth of them real: a small disk, or a limit on the size of files."""
    scene, rng, found = scenes["sweep"], random.Random(seed), []
    for kind, names in ERRORS.items():
        there = scene.kinds.count(kind)
        for name in names:
            places = {0, there - 1, rng.randrange(there)} if there else set()
            found += [_injected(scene, kind, place, name) for place in sorted(places)[:PLACES]]
    real = max(1, count // 10)
    small = [_small_disk(scene, size) for size in drawn(DISKS, real // 2 + real % 2, seed)]
    limits = [_limited(scene, rng.randrange(1, 6000)) for _ in range(real // 2)]
    return drawn(found, count - len(small) - len(limits), seed) + small + limits


def survived(done: Attempt) -> str | None:
    """What is wrong with the end of a run whose disk failed; None: one line and exit code 2, or whole."""
    if done.hung:
        return "hangs"
    if done.code == 0:
        return None
    last = (done.err.strip().splitlines() or [""])[-1]
    if done.code != 2 or not last.startswith("error: ") or "Traceback" in done.err or done.err.count("error: ") != 1:
        return f"ends with {done.code} and: {last[:300]}"
    return None


def _case(scene: Scene, name: str, before: Callable[[Path], None]) -> Case:
    def run(folder: Path) -> str | None:
        run = scene.prepare(folder / "attempt")
        done = attempt(scene.command(run), run.parent, lambda: before(run))
        return survived(done) or scene.finish(run)

    return Case("faults", f"{scene.name}: {name}", run)


def _injected(scene: Scene, kind: str, place: int, name: str) -> Case:
    act = events.failing_at(kind, place, getattr(errno, name), lasting=name in FULL)
    return _case(scene, f"{name} at {kind} {place}", lambda run: events.install(run, act))


def _limited(scene: Scene, size: int) -> Case:
    """The kernel refuses to let a file grow: a part of a write is on the disk, the rest is EFBIG."""
    limit = lambda _: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))  # noqa: E731
    return _case(scene, f"files of {size} bytes at most", limit)


def _small_disk(scene: Scene, kilobytes: int) -> Case:
    def run(folder: Path) -> str | None:
        disk = folder / "disk"
        disk.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(disk)]
        if subprocess.run(mount, capture_output=True).returncode != 0:
            raise Skipped("this user may not mount a small disk")
        try:
            done = attempt(scene.command(disk / "run"), folder)
            wrong = survived(done)
            if wrong is None:
                subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True, capture_output=True)
                wrong = scene.finish(disk / "run")
            return wrong
        finally:
            subprocess.run(["umount", str(disk)], check=True, capture_output=True)

    return Case("faults", f"{scene.name}: a disk of {kilobytes} kB", run)
