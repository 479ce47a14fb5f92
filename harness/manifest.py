"""``manifest.json``: what a run was made with, so that it can be made again."""

import json
import platform
from importlib import metadata
from pathlib import Path

from harness.run_folder import write_text

PACKAGES = (
    "ivg-harness", "torch", "transformers", "tokenizers", "safetensors", "accelerate", "datasets",
    "lm_eval", "alpaca_eval", "hydra-core", "trl", "peft", "numpy", "pandas", "scipy", "scikit-learn",
)  # fmt: skip


class Manifest:
    """The manifest of a run: read if it is there, kept up to date by the sweep.

    It holds the command, package versions, the device, every model's revision, the SHA-256 of every split's prompts and
    the wall time of each stage. It holds no environment variable and no key.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self.values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.values = {}

    def prompts(self, name: str) -> int | None:
        """How many prompts a split holds, if a sweep has counted them."""
        found = self.values.get("datasets", {}).get(name)
        return found["prompts"] if found else None

    def record_dataset(self, name: str, prompts: int, sha256: str) -> None:
        self.values.setdefault("datasets", {})[name] = {"prompts": prompts, "sha256": sha256}

    def record_truncated(self, trial: str, prompts: int) -> None:
        """How many of a trial's prompts were too long and lost their beginning."""
        self.values.setdefault("truncated_prompts", {})[trial] = prompts

    def record_run(self, command: list[str], device: str, models: dict) -> None:
        """What this invocation is; kept from the first invocation that generated anything."""
        self.values["command"] = command
        self.values["python"] = platform.python_version()
        self.values["packages"] = versions()
        self.values["device"] = device_name(device)
        self.values["models"] = models

    def record_published(self, figures: list[dict]) -> None:
        """Figures of publications, which the report shows beside ours."""
        if figures:
            self.values["published"] = figures

    def add_seconds(self, stage: str, seconds: float) -> None:
        """Add to a stage's wall time."""
        times = self.values.setdefault("wall_seconds", {})
        times[stage] = round(times.get(stage, 0.0) + seconds, 3)

    def write(self) -> None:
        write_text(self.path, json.dumps(self.values, indent=2, sort_keys=True) + "\n")


def versions() -> dict[str, str]:
    """Name -> version of the packages that outputs depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def device_name(device: str) -> str:
    """The device in words: an accelerator's name, or the processor's architecture and its number of cores."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device) if torch.cuda.is_available() else device
    import os

    return f"{device}: {platform.machine()}, {os.cpu_count()} cores"
