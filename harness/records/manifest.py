"""``manifest.json``: what a run was made with, so that it can be made again."""

import json
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from harness.records.run_folder import write_text
from harness.trials.code import decoding_code
from reports.rows import SIGNED

PACKAGES = (
    "ivg-harness", "torch", "transformers", "tokenizers", "safetensors", "accelerate", "datasets",
    "lm_eval", "alpaca_eval", "hydra-core", "trl", "peft", "numpy", "pandas", "scipy", "scikit-learn",
)  # fmt: skip


class Manifest:
    """The manifest of a run: read if it is there, kept up to date by the sweep.

    It holds the command, the day, package versions, the device, every model's revision, the harness's own code that
    decoded (version, commit, hash), the SHA-256 of every split's prompts, which way of the task's metrics is better,
    who judged, and the wall time of each stage. It holds no
    environment variable and no key.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self.values = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            self.values = {}

    def prompts(self, name: str) -> int | None:
        """How many prompts a split holds, if a sweep has counted them."""
        found = self.values.get("datasets", {}).get(name)
        return found["prompts"] if found else None

    def asks(self, name: str) -> str | None:
        """What a task of these files asks, by content, if a sweep has loaded it."""
        return self.values.get("asks", {}).get(name)

    def has_asked(self, task: str) -> bool:
        """Has a sweep loaded a task of that name?"""
        return any(name.startswith(f"{task}@") for name in self.values.get("asks", {}))

    def record_asks(self, name: str, content: str) -> None:
        """What a task of these files asks."""
        self.values.setdefault("asks", {})[name] = content

    def record_dataset(self, name: str, prompts: int, sha256: str, repeated: int = 0) -> None:
        """A split's prompts, and how many documents of its task were left out because they repeat a prompt."""
        entry = {"prompts": prompts, "sha256": sha256} | ({"repeated_documents": repeated} if repeated else {})
        self.values.setdefault("datasets", {})[name] = entry

    def record_signed_rows(self) -> None:
        """Whether every row of the run has its checksum: so it is where none was written before."""
        self.values.setdefault(SIGNED, not any(self.path.parent.glob("records/*.jsonl")))

    def record_truncated(self, trial: str, prompts: int) -> None:
        """How many of a trial's prompts were too long and lost their beginning."""
        self.values.setdefault("truncated_prompts", {})[trial] = prompts

    def record_run(self, command: list[str], device: str, models: dict) -> None:
        """What this invocation is; kept from the first invocation that generated anything."""
        self.values["command"] = command
        self.values["python"] = platform.python_version()
        self.values["packages"] = versions()
        self.values["date"] = datetime.now(UTC).date().isoformat()
        self.values["device"] = device_name(device)
        self.values["models"] = models
        decoded = self.values.setdefault("decoded_by", [])
        if decoding_code() not in decoded:
            decoded.append(decoding_code())

    def record_backend(self, named: dict) -> None:
        """Where blocks were decoded, where that is not this process."""
        if named["name"] != "serial":
            self.values["backend"] = named

    def other_code(self) -> str | None:
        """What to say where records of this run were decoded by another version of the harness's own code."""
        now = decoding_code()
        others = [_named(code) for code in self.values.get("decoded_by", []) if code["source"] != now["source"]]
        if not others:
            return None
        return (
            f"{self.path.parent}: holds records that other code of the harness decoded ({', '.join(others)}; "
            f"this is {_named(now)}): they are kept; to decode them again give another name=NAME"
        )

    @property
    def higher_is_better(self) -> dict[str, bool] | None:
        """Metric -> what the task says of it; None where no sweep has asked the task yet."""
        return self.values.get("higher_is_better")

    def record_directions(self, higher_is_better: dict[str, bool]) -> None:
        """Which way of the task's metrics is better: a report needs no task."""
        self.values["higher_is_better"] = higher_is_better

    def record_judge(self, judge: dict[str, str] | None) -> None:
        """Who compares the responses: the judge's name and the host that answers for it, without a key."""
        if judge is None:
            self.values.pop("judge", None)
        else:
            self.values["judge"] = judge

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


def _named(code: dict[str, str]) -> str:
    return " ".join(code[name] for name in ("version", "commit", "source") if name in code)


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
