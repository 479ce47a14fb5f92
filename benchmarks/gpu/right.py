"""Stage a: what the decoder writes on a GPU is what it writes elsewhere, with graphs and without.

Every check raises AssertionError, or returns what it saw. On a device without graphs a captured step is run again in
place of being replayed: the fixed shapes and addresses of graphs are then checked, and capturing is not.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch

from benchmarks.gpu import tiny
from benchmarks.gpu.session import Session, Step
from guiders import Sampling, laws
from guiders.decoding import stepper
from guiders.decoding.stepper import Graphs

SAMPLING = Sampling(temperature=0.9, max_new_tokens=24, seed=3)
LONG = "abcdefg" * 10  # beyond the 64 columns that a graph reads at once
FEW = 300  # tokens of all caches: a few slots, so that prompts wait, enter, leave, and the slots shrink
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.05}
OF_SUMS = 4  # times as much for values, which sum over the tokens of a response
TOGETHER = 64


def steps(session: Session) -> Iterator[Step]:
    """Laws, graphs and batches."""
    device = session.device
    pairs = [("llama", "ivg"), ("gpt2", "eft"), ("mistral", "implicit"), ("llama", "best_of_n")]
    for dtype in (torch.float32, torch.bfloat16):
        kind = str(dtype).removeprefix("torch.")
        for architecture, method in pairs[: 1 if session.quick else None]:
            yield Step(
                f"laws: {method}, {architecture}, {kind}", partial(laws_hold, method, architecture, dtype, device)
            )
        for method in tiny.METHODS[: 1 if session.quick else None]:
            yield Step(f"graphs: {method}, {kind}", partial(graphs_change_nothing, method, "llama", dtype, device))
    for method in ("eft",) if session.quick else ("eft", "ivg"):
        count = 8 if session.quick else TOGETHER
        yield Step(f"together and alone: {method}", partial(together_as_alone, method, "llama", device, count))


def laws_hold(method: str, architecture: str, dtype: torch.dtype, device: torch.device) -> dict:
    """All laws; in half precision those that rounding leaves alone, and how often the others hold.

    There, a row among others is rounded otherwise than alone, which now and then turns a draw.
    """
    guider, prompts, tolerance = tiny.guider(method, architecture, dtype, device), tiny.PROMPTS[:3], TOLERANCE[dtype]
    sampling = Sampling(temperature=0.9, max_new_tokens=12, seed=3)
    if dtype == torch.float32:
        laws.check(guider, prompts, sampling, tolerance)
        return {"laws": "all"}
    laws.off_equals_base(guider, prompts, sampling)
    laws.cached_logits_equal_formula(guider, prompts, sampling, tolerance)
    laws.threads_do_not_matter(guider, prompts, sampling)
    laws.ended_takes_one_slot(guider, prompts, sampling)
    if guider.value is not None:
        laws.cached_value_equals_rescore(guider, prompts, sampling, OF_SUMS * tolerance)
    alone = laws.decode(guider, prompts, sampling, batch_tokens=1)
    together = laws.decode(guider, prompts, sampling)
    same = sum(one.tokens == other.tokens for one, other in zip(alone, together, strict=True))
    return {"laws": "those of half precision", "same_alone_and_together": same / len(prompts)}


def graphs_change_nothing(method: str, architecture: str, dtype: torch.dtype, device: torch.device) -> dict:
    """Captured and replayed, the same as run step by step at the same shapes; in float32 also as without any of it.

    Prompts wait and slots shrink, so that every shape that a run meets is captured, replayed and left behind.
    """
    guider = tiny.guider(method, architecture, dtype, device)

    def decoded(graphs: bool):
        return laws.decode(guider, (*tiny.PROMPTS, LONG), SAMPLING, batch_tokens=FEW, graphs=graphs)

    with using(Rerun):
        reference = decoded(True)
    seen = Seen()
    with using(counting(Graphs if device.type == "cuda" else Rerun, seen)):
        replayed = decoded(True)
    _same(replayed, reference, "captured steps and the same steps run one by one")
    if dtype == torch.float32:
        _same(replayed, decoded(False), "with graphs and without")
    assert seen.replays > seen.captures > 0, "no graph was replayed"
    return {"captures": seen.captures, "replays": seen.replays, "shapes": len(seen.shapes)}


def together_as_alone(method: str, architecture: str, device: torch.device, count: int) -> dict:
    """Many prompts together write what each writes alone, in float32."""
    guider = tiny.guider(method, architecture, torch.float32, device)
    draws = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 40, (count,), generator=draws).tolist()
    prompts = [torch.randint(tiny.END, (n,), generator=draws).tolist() for n in lengths]
    sampling = Sampling(max_new_tokens=16, seed=5)
    together = laws.decode(guider, prompts, sampling, batch_tokens=1 << 30)
    _same(together, laws.decode(guider, prompts, sampling, batch_tokens=1), "together and alone")
    return {"prompts": count, "tokens": sum(len(one.tokens) for one in together)}


class Rerun(Graphs):
    """Runs the step again where a graph would be replayed."""

    def capture(self):
        return self.eager


@dataclass
class Seen:
    """Steps that were captured and replayed, and the shapes of those captured."""

    captures: int = 0
    replays: int = 0
    shapes: set = field(default_factory=set)


def counting(kind: type[Graphs], seen: Seen) -> type[Graphs]:
    """The same, and notes what it does."""

    def capture(self: Graphs) -> Callable[[], None]:
        assert self.taken is not None  # a step has been held
        seen.captures += 1
        seen.shapes.add((*self.taken.tokens.shape, *(lane.addresses()[1] for lane in self.lanes)))
        replay = kind.capture(self)

        def counted() -> None:
            seen.replays += 1
            replay()

        return counted

    return type("Counting", (kind,), {"capture": capture})


@contextmanager
def using(kind: type[Graphs]) -> Iterator[None]:
    """Inside, steppers made here replay by `kind`."""
    before = stepper.Graphs
    stepper.Graphs = kind  # type: ignore[misc]
    try:
        yield
    finally:
        stepper.Graphs = before  # type: ignore[misc]


def _same(found: list, expected: list, what: str) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.tokens == other.tokens, f"prompt {one.index}: {what} differ: {one.text!r} and {other.text!r}"
        near = abs((one.value or 0.0) - (other.value or 0.0)) <= 1e-3 * (1 + abs(other.value or 0.0))
        assert near, f"prompt {one.index}: {what}: values {one.value} and {other.value}"
