"""The memory that is there: of the machine, of the container that the process runs in, of an accelerator."""

from pathlib import Path

import torch

CGROUPS, PROC = Path("/sys/fs/cgroup"), Path("/proc")
NO_LIMIT = 1 << 60  # what version 1 writes where there is none, or more


def available(device: torch.device | str, cgroups: Path = CGROUPS, proc: Path = PROC) -> int | None:
    """Bytes that this process can still take on a device; None where the system does not say.

    On a CPU the least of what the machine has left and of what each control group around the process has: a container
    is killed at its own limit, whatever the machine has left.

    Args:
        cgroups, proc: where the kernel tells of control groups and of memory.
    """
    device = torch.device(device)
    if device.type == "cuda" and torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    if device.type != "cpu":
        return None
    found = [*_machine(proc), *_groups(cgroups, proc)]
    return min(found, default=None)


def _machine(proc: Path) -> list[int]:
    for line in _lines(proc / "meminfo"):
        if line.startswith("MemAvailable:"):
            return [int(line.split()[1]) * 1024]
    return []


def _groups(cgroups: Path, proc: Path) -> list[int]:
    """What each group with a limit has left, from the process's own group up."""
    found = []
    for line in _lines(proc / "self" / "cgroup"):
        _, controllers, place = line.split(":", 2)
        if controllers not in ("", "memory") and "memory" not in controllers.split(","):
            continue
        root = cgroups / "memory" if controllers else cgroups
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
        folder = root / place.strip("/")
        while True:
            found += _left(folder, *names)
            if folder == root:
                break
            folder = folder.parent
    return found


def _left(folder: Path, limit: str, used: str) -> list[int]:
    """What a group has left: its cache of files is given up at need and not counted."""
    most, taken = _number(folder / limit), _number(folder / used)
    if most is None or taken is None or most >= NO_LIMIT:
        return []
    files = {name: int(size) for name, size in map(str.split, _lines(folder / "memory.stat"))}
    return [max(0, most - taken + files.get("total_inactive_file", files.get("inactive_file", 0)))]


def _number(file: Path) -> int | None:
    text = "".join(_lines(file)).strip()
    return int(text) if text.isdigit() else None  # "max": no limit


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:  # another system, or a container that hides it
        return []
