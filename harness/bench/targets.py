"""What the decoder is held to, and what it reached."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

SPEEDUPS = {"ivg": 5.5, "chunk_implicit": 8.0, "eft": 4.0}
FLOOR_SHARE = 0.75
PLAIN_SHARE = 0.60
FLAT = 0.15
START = 0.05
BANDWIDTH_SHARE = 0.50


@dataclass(frozen=True)
class Target:
    """Attributes: wanted: the bound; reached: the figure, None where it was not measured; least: is the bound a
    least one, or a greatest?"""

    name: str
    wanted: float
    reached: float | None
    least: bool = True

    @property
    def met(self) -> bool | None:
        if self.reached is None:
            return None
        return self.reached >= self.wanted if self.least else self.reached <= self.wanted

    def row(self) -> dict:
        return {**asdict(self), "met": self.met}


def targets(figures: dict) -> Iterator[Target]:
    """Every target with what these figures say of it."""
    methods, rates = figures["methods"], figures["rates"]
    for method, wanted in SPEEDUPS.items():
        yield Target(f"{method}: times as fast as the naive baseline", wanted, figures["speedups"].get(method))
    ivg = methods.get("ivg")
    yield Target("ivg: share of the arithmetic floor", FLOOR_SHARE, ivg and ivg["floor_share"])
    share = None
    if next(iter(methods)) == "ivg":  # plain generate has the rows of the first method
        share = rates["ivg"]["hypothesis_tokens_per_second"] / rates["plain"]["hypothesis_tokens_per_second"]
    yield Target("ivg: hypothesis tokens/s over plain generate's at equal rows", PLAIN_SHARE, share)
    yield Target("cost per answer token, 4 to 64 prompts: spread", FLAT, flatness(figures["scaling"]), least=False)
    memory = figures["prompt_memory"]
    yield Target(
        "cache held for prompts, all rows over one row",
        1.0,
        memory[-1]["prompt"] / memory[0]["prompt"],
        least=False,
    )
    first = next(iter(methods.values()))
    start = first["before_first_step"] / first["profiled_seconds"]
    yield Target("host time before the first step, share of the run", START, start, least=False)
    if "bandwidth" in first:
        yield Target("share of the memory-bandwidth floor per step", BANDWIDTH_SHARE, first["bandwidth"]["share"])


def flatness(scaling: dict) -> float | None:
    """Highest over lowest cost per answer token over 4 to 64 prompts, less one; None where not both were run."""
    costs = {point["at"]: point["per_answer_token"] for point in scaling.get("prompts", [])}
    if not {4, 64} <= costs.keys():
        return None
    return max(costs.values()) / min(costs.values()) - 1
