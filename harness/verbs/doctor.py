"""The verb ``doctor``: what a sweep needs, what of it is there, how long it will take; nothing is downloaded."""

import os
import shutil
from pathlib import Path

from harness.config.schema import Sweep
from harness.config.task_file import task_file
from harness.judges.config import OpenAISpec, judge_spec
from harness.progress import duration
from harness.sweep.pace import measured
from harness.trials import requirements
from harness.trials.composed import composed_sweep
from harness.trials.requirements import ModelNeed
from harness.trials.trial import Setting

READY, MISSING = 0, 1
PER = 100  # prompts, where their number is not known
WHERE = {
    "embedded": "trained and cached",
    "untrained": "trained on first use, about two minutes",
    "folder": "a folder",
    "cached": "in the hub's cache",
    "hub": "to be downloaded",
    "missing": "NOT THERE",
}


def main(arguments: list[str]) -> int:
    """``python -m harness doctor preset=… [the sweep's overrides]``; 1 where something is missing."""
    composed = composed_sweep(arguments)
    sweep, settings = composed.sweep, composed.settings
    needs = requirements.models(sweep, settings)
    lines = [f"{sweep.name}: {len(settings)} settings, {_prompts(sweep)}, seeds {sweep.seeds}", f"data: {_data(sweep)}"]
    lines += ["", "models"]
    for need in needs:
        size = "size not known" if need.bytes is None else _size(need.bytes)
        gated = ", licence to be accepted on the hub" if need.gated else ""
        lines.append(f"  {need.path:<44} {size:>14}  {WHERE[need.where]}{gated}  ({', '.join(need.roles)})")
    missing = [f"model {need.path} for {', '.join(need.roles)}" for need in needs if need.where == "missing"]
    for found in (_disk(needs), _memory(sweep, needs), _keys(sweep, needs)):
        lines += ["", *found[0]]
        missing += found[1]
    lines += ["", "time", f"  {_time(sweep, settings, needs)} on {sweep.device}; judging and loading come on top"]
    lines += ["", "ready" if not missing else "missing: " + "; ".join(missing)]
    print("\n".join(lines))
    return MISSING if missing else READY


def _prompts(sweep: Sweep) -> str:
    found = requirements.prompts(sweep)
    return f"{sweep.task.name}, " + ("all prompts" if found is None else f"{found} prompts")


def _data(sweep: Sweep) -> str:
    """The files of the tasks that choose and report, and what they are by content."""
    task = sweep.task
    if task.name is None and task.path is None:
        return "no task is named"
    files = dict.fromkeys(task_file(task, split) for split in ("test", "dev"))
    return "; ".join(f"{file.path or file.name} ({file.revision})" for file in files)


def _disk(needs: list[ModelNeed]) -> tuple[list[str], list[str]]:
    from huggingface_hub.constants import HF_HUB_CACHE

    downloads = [need for need in needs if need.where == "hub"]
    wanted = sum(need.bytes or 0 for need in downloads)
    place = Path(HF_HUB_CACHE)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    more = " and models of unknown size" if any(need.bytes is None for need in downloads) else ""
    lines = ["disk", f"  {_size(wanted)}{more} to download, {_size(free)} free in the hub's cache"]
    missing = [f"{_size(wanted - free)} of disk"] if wanted > free else []
    if any(need.where == "hub" for need in needs) and os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        missing.append("the hub, as HF_HUB_OFFLINE is set")
    return lines, missing


def _memory(sweep: Sweep, needs: list[ModelNeed]) -> tuple[list[str], list[str]]:
    import torch

    wanted = requirements.memory(sweep, needs)
    kind = sweep.device.partition(":")[0]
    shown = "not known" if wanted is None else f"about {_size(wanted)}"
    lines = ["memory", f"  {shown} for weights and caches on {sweep.device}"]
    if kind != "cuda":
        return lines, []
    if not torch.cuda.is_available():
        lines.append("  no CUDA device is here")
        return lines, ["a CUDA device (or device=cpu)"]
    properties = torch.cuda.get_device_properties(sweep.device)
    lines.append(f"  {properties.name} has {_size(properties.total_memory)}")
    short = 0 if wanted is None else max(0, wanted - properties.total_memory)
    mend = "memory on the device: a smaller dtype, fewer batch_tokens, or a larger device"
    return lines, [f"{_size(short)} of {mend}"] if short else []


def _keys(sweep: Sweep, needs: list[ModelNeed]) -> tuple[list[str], list[str]]:
    from huggingface_hub import get_token

    lines, missing = ["keys"], []
    if any(need.gated and need.where == "hub" for need in needs):
        there = get_token() is not None
        lines.append(f"  the hub's token, for gated models: {'there' if there else 'NOT SET (huggingface-cli login)'}")
        missing += [] if there else ["the hub's token (HF_TOKEN)"]
    judge = judge_spec(sweep.judge) if sweep.judge else None
    if isinstance(judge, OpenAISpec):
        there = bool(os.environ.get(judge.key_env))
        lines.append(f"  {judge.key_env}, for the judge: {'there' if there else 'NOT SET'}")
        missing += [] if there else [judge.key_env]
    return [*lines, "  none needed"] if len(lines) == 1 else lines, missing


def _size(size: float) -> str:
    """Bytes in words: "548 MB", "13.5 GB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _time(sweep: Sweep, settings: list[Setting], needs: list[ModelNeed]) -> str:
    asked = requirements.prompts(sweep)
    tokens = requirements.limit(sweep)
    pace = None if tokens is None else measured(sweep, settings, needs, tokens)
    found = requirements.seconds(sweep, settings, needs, asked or PER, pace)
    if found is None:
        return "a time that can't be told before the models are there"
    how = "as a few prompts took" if pace else "by the sizes of the models, which can be several times off,"
    return f"about {duration(found)} of decoding {how}" + ("" if asked else f" for every {PER} prompts")
