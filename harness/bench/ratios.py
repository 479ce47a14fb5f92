"""The figures that stand for a whole run: what docs/benchmarks.md states targets for."""

from collections.abc import Iterator


def ratios(figures: dict) -> Iterator[tuple[str, float | None]]:
    """What is measured, and the figure; None where it was not run."""
    methods, rates = figures["methods"], figures["rates"]
    for method, speedup in figures["speedups"].items():
        yield f"{method}: times as fast as the naive baseline", speedup
    for method, measured in methods.items():
        yield f"{method}: share of the arithmetic floor", measured["floor_share"]
    first = next(iter(methods))
    share = rates[first]["hypothesis_tokens_per_second"] / rates["plain"]["hypothesis_tokens_per_second"]
    yield f"{first}: hypothesis tokens/s over plain generate's at equal rows", share
    yield "cost per answer token, 4 to 64 prompts: spread", flatness(figures["scaling"])
    memory = figures["prompt_memory"]
    yield "cache held for prompts, all rows over one row", memory[-1]["prompt"] / memory[0]["prompt"]
    start = methods[first]["before_first_step"] / methods[first]["profiled_seconds"]
    yield "host time before the first step, share of the run", start
    if "bandwidth" in methods[first]:
        yield "share of the memory-bandwidth floor per step", methods[first]["bandwidth"]["share"]


def flatness(scaling: dict) -> float | None:
    """Highest over lowest cost per answer token over 4 to 64 prompts, less one; None where not both were run."""
    costs = {point["at"]: point["per_answer_token"] for point in scaling.get("prompts", [])}
    if not {4, 64} <= costs.keys():
        return None
    return max(costs.values()) / min(costs.values()) - 1
