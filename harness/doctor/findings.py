"""What was found of a sweep's needs: models, disk, memory, keys, time. Nothing is downloaded."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from harness.config.schema import Sweep
from harness.config.task_file import task_file
from harness.doctor.pace import measured
from harness.judges.config import OpenAISpec, judge_spec
from harness.models import device
from harness.progress import duration
from harness.trials import requirements
from harness.trials.composed import ComposedSweep
from harness.trials.requirements import ModelNeed
from harness.trials.trial import Setting

PER = 100  # prompts, where their number is not known
WHERE = {
    "embedded": "trained and cached",
    "untrained": "trained on first use, about two minutes",
    "folder": "a folder",
    "cached": "in the hub's cache",
    "hub": "to be downloaded",
    "missing": "NOT THERE",
}


@dataclass
class Finding:
    """What was found of one need.

    Attributes:
        need: "models", "disk" and so on.
        lines: what is needed and what is there.
        missing: what is not there, in words.
    """

    need: str
    lines: list[str]
    missing: list[str] = field(default_factory=list)


def findings(composed: ComposedSweep) -> list[Finding]:
    """Everything that a sweep needs, in the order in which it is shown.

    Raises:
        UserError: a device of no known kind, a task's file that cannot be read.
    """
    sweep, settings = composed.sweep, composed.settings
    device.known(sweep.device)
    needs = requirements.models(sweep, settings)
    before = [_models(needs), _disk(needs), _memory(sweep, needs), _keys(sweep, needs)]
    if sweep.backend.name == "ray":
        before.append(_workers(sweep, needs))
    # a device that is not there cannot be measured
    return [*before, _time(sweep, settings, needs, measure=device.is_there(sweep.device))]


def _workers(sweep: Sweep, needs: list[ModelNeed]) -> Finding:
    """Whether every node of the cluster has what a worker needs, as this machine has it."""
    from harness.backends.ray import Ray
    from harness.backends.worker import WorkerSettings

    settings = WorkerSettings(sweep.device, sweep.backend.cpus_per_worker, None, False, "error", None)
    backend = Ray(sweep.backend, settings)
    folders = [str(Path(need.path).expanduser()) for need in needs if need.where == "folder"]
    try:
        missing = backend.check_nodes(folders, sum(need.memory or 0 for need in needs))
    finally:
        backend.close()
    return Finding("workers", missing or ["every node has the packages, the models and the memory"], missing)


def data(sweep: Sweep) -> str:
    """The files of the tasks that choose and report, and what they are by content."""
    task = sweep.task
    if task.name is None and task.path is None:
        return "no task is named"
    files = dict.fromkeys(task_file(task, split) for split in ("test", "dev"))
    return "; ".join(f"{file.path or file.name} ({file.revision})" for file in files)


def _models(needs: list[ModelNeed]) -> Finding:
    found = Finding("models", [])
    for need in needs:
        size = "size not known" if need.bytes is None else _size(need.bytes)
        gated = ", licence to be accepted on the hub" if need.gated else ""
        found.lines.append(f"{need.path:<44} {size:>14}  {WHERE[need.where]}{gated}  ({', '.join(need.roles)})")
        if need.where == "missing":
            found.missing.append(f"model {need.path} for {', '.join(need.roles)}")
    return found


def _disk(needs: list[ModelNeed]) -> Finding:
    from huggingface_hub.constants import HF_HUB_CACHE

    downloads = [need for need in needs if need.where == "hub"]
    wanted = sum(need.bytes or 0 for need in downloads)
    place = Path(HF_HUB_CACHE)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    more = " and models of unknown size" if any(need.bytes is None for need in downloads) else ""
    found = Finding("disk", [f"{_size(wanted)}{more} to download, {_size(free)} free in the hub's cache"])
    if wanted > free:
        found.missing.append(f"{_size(wanted - free)} of disk")
    if downloads and os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        found.missing.append("the hub, as HF_HUB_OFFLINE is set")
    return found


def _memory(sweep: Sweep, needs: list[ModelNeed]) -> Finding:
    wanted = requirements.memory(sweep, needs)
    kind = sweep.device.partition(":")[0]
    shown = "not known" if wanted is None else f"about {_size(wanted)}"
    found = Finding("memory", [f"{shown} for weights and caches on {sweep.device}"])
    if not device.is_there(sweep.device):
        found.lines.append(f"no device {sweep.device} is here")
        found.missing.append(f"a device {sweep.device} (or device=cpu)")
    elif kind == "cuda":
        import torch

        properties = torch.cuda.get_device_properties(sweep.device)
        found.lines.append(f"{properties.name} has {_size(properties.total_memory)}")
        if wanted is not None and wanted > properties.total_memory:
            short = _size(wanted - properties.total_memory)
            remedy = "memory on the device: a smaller dtype, fewer batch_tokens, or a larger device"
            found.missing.append(f"{short} of {remedy}")
    return found


def _keys(sweep: Sweep, needs: list[ModelNeed]) -> Finding:
    from huggingface_hub import get_token

    found = Finding("keys", [])
    if any(need.gated and need.where == "hub" for need in needs):
        there = get_token() is not None
        found.lines.append(
            f"the hub's token, for gated models: {'there' if there else 'NOT SET (huggingface-cli login)'}"
        )
        found.missing += [] if there else ["the hub's token (HF_TOKEN)"]
    judge = judge_spec(sweep.judge) if sweep.judge else None
    if isinstance(judge, OpenAISpec):
        there = bool(os.environ.get(judge.key_env))
        found.lines.append(f"{judge.key_env}, for the judge: {'there' if there else 'NOT SET'}")
        found.missing += [] if there else [judge.key_env]
    found.lines = found.lines or ["none needed"]
    return found


def _time(sweep: Sweep, settings: list[Setting], needs: list[ModelNeed], measure: bool) -> Finding:
    asked = requirements.prompts(sweep)
    tokens = requirements.limit(sweep)
    pace = measured(sweep, settings, needs, tokens) if measure and tokens is not None else None
    seconds = requirements.seconds(sweep, settings, needs, asked or PER, pace)
    if seconds is None:
        said = "a time that can't be told before the models are there"
    else:
        how = "as a few prompts took" if pace else "by the sizes of the models, which can be several times off,"
        said = f"about {duration(seconds)} of decoding {how}" + ("" if asked else f" for every {PER} prompts")
    return Finding("time", [f"{said} on {sweep.device}; judging and loading come on top"])


def _size(size: float) -> str:
    """Bytes in words: "548 MB", "13.5 GB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
