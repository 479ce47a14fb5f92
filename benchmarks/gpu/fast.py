"""Stage b: the time of a step of IVG at 4 to 512 rows, eager and with graphs, beside what the machine can do at best.

A step's floor is the larger of two: the bytes that it must read, at the rate of a copy, and its multiplications, at the
rate of a large product. Both rates are measured here. A step is a chunk's time over its tokens, so that the value and
the selection at the boundary are in it.
"""

from collections.abc import Iterator
from functools import cache, partial

import torch

from benchmarks.gpu.session import LENGTH, SUCCESSORS, WIDTH, Session, Step
from guiders import Guider, Sampling
from guiders.decoding.engine import Engine
from harness.bench.bandwidth import chunk_bytes, token_bytes
from harness.bench.clocks import best, copy_bandwidth, timed_once
from harness.bench.floor import matrices
from harness.bench.parts import profiled
from harness.bench.shapes import spread_prompts
from harness.bench.variants import UNBOUNDED, plain

ROWS = (4, 32, 128, 512)
PROMPT_TOKENS = (16, 112)  # 64 on average, as AlpacaEval's
CHUNKS = 4  # the first one reads the prompts and allocates
PLAIN_STEPS = 32
TOP = 15  # kernels that are named


def steps(session: Session) -> Iterator[Step]:
    """The machine, IVG in two ways, plain generate, where the time goes."""
    yield Step("machine", partial(machine, session), seconds=60)  # the models are made here
    for rows in (4, 8) if session.quick else ROWS:
        for graphs in (True, False) if session.cuda else (False,):
            name = f"ivg, {rows} rows, {'graphs' if graphs else 'eager'}"
            yield Step(name, partial(ivg, session, rows, graphs), seconds=20)
    for rows in (4, 8) if session.quick else ROWS:
        yield Step(f"plain generate, {rows} rows", partial(plain_generate, session, rows), seconds=8)
    for rows in (4,) if session.quick else (4, 128):
        yield Step(f"parts, {rows} rows", partial(parts, session, rows), seconds=20)
        yield Step(f"kernels, {rows} rows", partial(kernels, session, rows), seconds=20)


def machine(session: Session) -> dict:
    """The rates of a copy and of a large product, and the models' sizes."""
    size = 256 if session.quick or not session.cuda else 8192
    a = torch.randn(size, size, device=session.device).to(session.dtype)
    seconds = best(lambda: a @ a, session.device, "wall", repeats=5)
    return {
        "bytes_per_second": copy_bandwidth(session.device, "wall"),
        "multiplications_per_second": size**3 / seconds,
        "weights": {name: _weights(lm) for name, lm in session.models.items()},
    }


def ivg(session: Session, rows: int, graphs: bool) -> dict:
    """The time of a step, and the memory that it took."""
    guider, prompts = session.guider("ivg"), _prompts(session, rows)
    rates = _rates(session)
    if session.cuda:
        session.clear()
        torch.cuda.reset_peak_memory_stats(session.device)
    engine, seconds = _engine(guider, prompts, graphs), []
    for _ in range(CHUNKS):
        seconds.append(timed_once(engine.step, session.device, "wall"))
    *_, last = seconds
    lengths, history = [len(p) for p in prompts], (CHUNKS - 1) * LENGTH
    bandwidth = chunk_bytes(guider, lengths, history, LENGTH) / LENGTH / rates["bytes_per_second"]
    arithmetic = step_multiplications(guider, len(prompts)) / rates["multiplications_per_second"]
    step = min(last, *seconds[1:]) / LENGTH
    return {
        "rows": rows,
        "graphs": graphs,
        "step_seconds": step,
        "chunk_seconds": seconds,
        "bandwidth_floor": bandwidth,
        "arithmetic_floor": arithmetic,
        "times_the_floor": step / max(bandwidth, arithmetic),
        "peak_bytes": torch.cuda.max_memory_allocated(session.device) if session.cuda else None,
        "predicted_bytes": predicted_bytes(guider, lengths, CHUNKS * LENGTH),
    }


def plain_generate(session: Session, rows: int) -> dict:
    """`transformers.generate` of the base alone at as many rows: the time of a step, prefill taken off."""
    prompts, base = _prompts(session, rows), session.models["base"]

    def seconds(new_tokens: int) -> float:
        sampling = Sampling(max_new_tokens=new_tokens)
        variant = plain("plain", base, prompts, WIDTH * SUCCESSORS, sampling, together=True)
        return best(variant.run, session.device, "wall", repeats=2)

    few = 4 if session.quick else PLAIN_STEPS
    return {"rows": rows, "step_seconds": (seconds(1 + few) - seconds(1)) / few}


def parts(session: Session, rows: int) -> dict:
    """Seconds by part of two chunks, eager, every part waited for."""
    guider, prompts = session.guider("ivg"), _prompts(session, rows)
    _engine(guider, prompts, graphs=False).step()
    engine = _engine(guider, prompts, graphs=False)
    with profiled(guider) as profile:
        engine.step()
        engine.step()
    return {"rows": rows, "total": profile.total, "parts": dict(profile.seconds)}


def kernels(session: Session, rows: int) -> dict:
    """The kernels that take most of a chunk, with graphs where there are some, and how busy the device is."""
    activity = torch.profiler.ProfilerActivity
    engine = _engine(session.guider("ivg"), _prompts(session, rows), session.cuda)
    engine.step()
    engine.step()
    with torch.profiler.profile(activities=[activity.CPU, *([activity.CUDA] if session.cuda else [])]) as profile:
        wall = timed_once(engine.step, session.device, "wall")
    of_device = "self_device_time_total" if session.cuda else "self_cpu_time_total"
    found = [(getattr(one, of_device) / 1e6, one.count, one.key[:90]) for one in profile.key_averages()]
    busy = sum(seconds for seconds, _, _ in found)
    top = sorted(found, reverse=True)[:TOP]
    return {
        "rows": rows,
        "chunk_seconds": wall,
        "busy_seconds": busy,
        "top": [{"kernel": key, "calls": calls, "seconds": seconds} for seconds, calls, key in top],
    }


def step_multiplications(guider: Guider, prompts: int) -> float:
    """Multiplications of a step by weights, the value's share of them included; attention's are few beside them."""
    of_step = sum(_weights(lm) for lm in guider.models)
    reads = guider.value.reads(guider) if guider.value else ()
    of_value = sum(m.numel() for read in reads for m in matrices(read.lm)[0])
    return prompts * guider.rows * (of_step + of_value)


def predicted_bytes(guider: Guider, lengths: list[int], new_tokens: int) -> int:
    """Weights; a prompt once, its history once per survivor, a chunk once per row, in the caches of all models; logits
    in half precision of all models that step, and three times in float32 where the token is drawn."""
    search, models = guider.search, dict.fromkeys((*guider.models, *guider.readers))
    columns = search.survivors * (new_tokens + search.successors * LENGTH)
    tokens = sum(lengths) + len(lengths) * columns
    weights = {id(p): p.nbytes for lm in models for p in lm.model.parameters()}
    logits = len(lengths) * guider.rows * guider.vocabulary * (2 * len(guider.models) + 3 * 4)
    return sum(weights.values()) + sum(tokens * token_bytes(lm) for lm in models) + logits


def _weights(lm) -> int:
    blocks, head = matrices(lm)
    return sum(m.numel() for m in blocks) + head.numel()


@cache
def _rates(session: Session) -> dict:
    """Measured by every process anew: a file may be continued when the device runs at another clock."""
    return machine(session)


def _prompts(session: Session, rows: int) -> list[list[int]]:
    vocabulary = session.models["base"].config.vocab_size
    return spread_prompts(max(1, rows // (WIDTH * SUCCESSORS)), *PROMPT_TOKENS, vocabulary, seed=0)


def _engine(guider: Guider, prompts: list[list[int]], graphs: bool) -> Engine:
    """All prompts at once, none of which ends in `CHUNKS` chunks."""
    engine = Engine(guider, UNBOUNDED, graphs=graphs)
    for prompt in prompts:
        engine.add(prompt, Sampling(max_new_tokens=2 * CHUNKS * LENGTH))
    return engine
