"""Stage c: minutes for all of AlpacaEval, projected from a slice of 64 prompts, for IVG, EFT and the base.

Answers end where AlpacaEval's do (`benchmarks.gpu.lengths`); all hypotheses of a prompt at the same length, which
leaves no work out.
"""

import time
from collections.abc import Iterator
from functools import partial
from math import ceil
from typing import NamedTuple

from benchmarks.gpu.lengths import NEW_TOKENS, PROMPTS, slice_of_alpaca_eval
from benchmarks.gpu.session import Session, Step
from guiders import Sampling
from guiders.decoding.engine import Engine
from harness.bench.clocks import synchronise

SLICE, SLOTS = 64, 32
MOST = 100.0  # seconds for one method
METHODS = ("ivg", "eft", "base")


class Taken(NamedTuple):
    """One step of the engine: a chunk of every running prompt."""

    seconds: float
    decoded: int  # prompts
    waiting: int  # prompts, when it began


def steps(session: Session) -> Iterator[Step]:
    """One step a method."""
    for method in METHODS:
        yield Step(method, partial(whole, session, method), seconds=30)


def whole(session: Session, method: str) -> dict:
    """Decode the slice, as far as time allows, and project."""
    guider = session.guider(method)
    count, slots, shrink = (8, 4, 16) if session.quick else (SLICE, SLOTS, 1)
    asked = slice_of_alpaca_eval(count, guider.base.config.vocab_size, shrink)
    limit = NEW_TOKENS // shrink
    columns = min(guider.search.ends.most or limit, limit)
    each = max(len(p) for p, _ in asked) + guider.search.survivors * (limit + guider.search.successors * columns)
    engine = Engine(guider, batch_tokens=slots * each, graphs=session.cuda)
    for prompt, length in asked:
        engine.add(prompt, Sampling(max_new_tokens=length))
    until = time.monotonic() + min(MOST, session.left())
    taken, finished = [], 0
    while not engine.idle and (session.quick or time.monotonic() < until):
        waiting = engine.waiting
        synchronise(session.device)
        started = time.perf_counter()
        done = len(engine.step())
        synchronise(session.device)
        finished += done
        taken.append(Taken(time.perf_counter() - started, engine.running + done, waiting))
    chunks = sum(ceil(answer / columns) for _, answer in asked)
    return {
        "prompts": count,
        "slots": slots,
        "rows": slots * guider.rows,
        "finished": finished,
        "slice_seconds": sum(one.seconds for one in taken),
        "minutes": projected(taken, count, chunks) / 60,
        "cut_short": finished < count,
    }


def projected(taken: list[Taken], count: int, chunks: float, total: int = PROMPTS) -> float:
    """Seconds for `total` prompts from the steps of a slice of `count`, whose prompts take so many chunks together.

    While prompts wait, all slots are busy: chunks a second of that time hold for all prompts but those of the end,
    when slots run empty, which comes once.
    """
    busy = [one for one in taken if one.waiting] or taken
    end = [one for one in taken if not one.waiting] if len(busy) < len(taken) else []
    rate = sum(one.decoded for one in busy) / sum(one.seconds for one in busy)
    needed = chunks * total / count - sum(one.decoded for one in end)
    return needed / rate + sum(one.seconds for one in end)
