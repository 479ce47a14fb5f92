"""The verb ``doctor``: what a sweep needs, what of it is there, how long it will take; nothing is downloaded."""

from harness.doctor.findings import data, findings
from harness.trials import requirements
from harness.trials.composed import composed_sweep

READY, MISSING = 0, 1


def main(arguments: list[str]) -> int:
    """``python -m harness doctor preset=… [the sweep's overrides]``; 1 where something is missing."""
    composed = composed_sweep(arguments)
    sweep = composed.sweep
    found = findings(composed)
    asked = requirements.prompts(sweep)
    prompts = "all prompts" if asked is None else f"{asked} prompts"
    print(f"{sweep.name}: {len(composed.settings)} settings, {sweep.task.name}, {prompts}, seeds {sweep.seeds}")
    print(f"data: {data(sweep)}")
    for one in found:
        print("\n".join(["", one.need, *(f"  {line}" for line in one.lines)]))
    missing = [what for one in found for what in one.missing]
    print("\n" + ("missing: " + "; ".join(missing) if missing else "ready"))
    return MISSING if missing else READY
