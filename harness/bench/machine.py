"""What the figures were measured on."""

import platform
from importlib import metadata
from pathlib import Path

import torch

from harness.records.manifest import device_name

PACKAGES = ("ivg-harness", "torch", "transformers", "numpy")
CPUINFO = Path("/proc/cpuinfo")


def machine(device: torch.device) -> dict:
    """The device, the processor, and the versions of what runs."""
    return {
        "device": device_name(str(device)),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _processor() -> str:
    if CPUINFO.exists():
        for line in CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
