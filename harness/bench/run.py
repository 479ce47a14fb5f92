"""One run of the benchmark: rounds in which all variants alternate, then where the time went, and how it grows."""

import statistics
import sys
from datetime import UTC, datetime

import torch

from guiders import Guider, Sampling
from harness.bench.bandwidth import step_bytes
from harness.bench.beside import compared
from harness.bench.clocks import Gauge, copy_bandwidth, timed
from harness.bench.floor import Products, multiplications, unavoidable
from harness.bench.machine import machine
from harness.bench.models import Models, typical
from harness.bench.parts import PARTS, profiled
from harness.bench.ratios import ratios
from harness.bench.result import Result
from harness.bench.scaling import prompt_memory, scaled
from harness.bench.settings import Bench
from harness.bench.variants import Variant, decoder, naive, plain, rows_of
from harness.errors import UserError

HELD = 0.15  # a machine whose gauge moves by more has not held its speed


def measure(spec: Bench) -> Result:
    """Measure everything that `spec` asks for.

    Raises:
        UserError: a device that is not there.
    """
    try:
        torch.empty(0, device=spec.device)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        raise UserError(f"bench.device={spec.device}: not usable here ({str(error).splitlines()[0]})") from None
    threads = torch.get_num_threads()
    torch.set_num_threads(spec.threads)
    try:
        return Result(compared(spec, _say) if spec.compare else _figures(spec), spec.out)
    finally:
        torch.set_num_threads(threads)


def _figures(spec: Bench) -> dict:
    device = torch.device(spec.device)
    models = Models(spec)
    prompts = models.prompts(spec.prompts, *spec.prompt_tokens, spec.seed)
    guiders = {method: models.guider(method, spec.grid) for method in spec.methods}
    sampling = Sampling(max_new_tokens=spec.new_tokens, seed=spec.seed)
    variants = _variants(spec, models, guiders, prompts, sampling)
    for variant in _variants(spec, models, guiders, typical(prompts, 1), Sampling(max_new_tokens=2)):
        variant.run()
    gauge, products = Gauge(device, models.dtype, spec.clock), Products(device, spec.clock)
    lengths = [len(p) for p in prompts]
    runs: list[dict] = []
    floors: dict[str, list[float]] = {method: [] for method in guiders}
    for index in range(spec.rounds):
        products.renew()
        for method, guider in guiders.items():
            work = unavoidable(guider, lengths, spec.new_tokens)
            floors[method].append(sum(map(products.seconds, work)))
        for variant in variants if index % 2 == 0 else reversed(variants):
            runs.append(_timed(index, variant, gauge, device))
    _flag(runs)
    figures: dict = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(device),
        "settings": spec.model_dump(),
        "equal_work": "no model has an end token: every variant decodes new_tokens tokens for every row",
        "models": models.parameters(),
        "vocabulary": models.vocabulary,
        "gauge": statistics.median(run["gauge"] for run in runs),
        "runs": runs,
        "rates": {v.name: _rates(v, runs, spec.clock) for v in variants},
        "speedups": {method: _ratio(runs, f"{method} naive", method, spec, variants) for method in guiders},
        "methods": {},
    }
    for method, guider in guiders.items():
        figures["methods"][method] = _parts(spec, guider, prompts, products) | _shares(
            spec, method, runs, floors[method]
        )
        if device.type == "cuda":
            figures["methods"][method]["bandwidth"] = _bandwidth(spec, guider, figures, method, lengths)
    first = spec.methods[0]
    figures["scaling"] = scaled(spec, models, first, gauge, progress=_say)
    figures["prompt_memory"] = prompt_memory(spec, models, first)
    figures["ratios"] = dict(ratios(figures))
    return figures


def _variants(
    spec: Bench, models: Models, guiders: dict[str, Guider], prompts: list[list[int]], sampling: Sampling
) -> list[Variant]:
    base, few = models.by_name["base"], typical(prompts, spec.naive_prompts)
    rows = rows_of(guiders[spec.methods[0]])
    found = [
        plain("plain", base, prompts, rows, sampling, together=True),
        plain("plain one by one", base, few, 1, sampling, together=False),
    ]
    for method, guider in guiders.items():
        found.append(decoder(method, guider, prompts, sampling, spec.graphs))
        found.append(naive(f"{method} naive", guider, few, sampling))
    return found


def _timed(index: int, variant: Variant, gauge: Gauge, device: torch.device) -> dict:
    """One run of a variant, with the gauge read just before."""
    rate, given = gauge.rate(), []
    spent = timed(lambda: given.append(variant.run()), device)
    if given != [variant.answer_tokens]:
        raise RuntimeError(f"{variant.name} gave {given[0]} tokens, not {variant.answer_tokens}: not equal work")
    _say(f"round {index + 1}: {variant.name}: {spent.wall:.1f} s ({spent.cpu:.1f} s of CPU)")
    return {"round": index, "variant": variant.name, "gauge": rate, **spent.row()}


def _flag(runs: list[dict]) -> None:
    """Mark the runs before which the machine was not as fast as usual."""
    usual = statistics.median(run["gauge"] for run in runs)
    for run in runs:
        run["disturbed"] = abs(run["gauge"] / usual - 1) > HELD


def _of(runs: list[dict], name: str) -> list[dict]:
    return sorted((run for run in runs if run["variant"] == name), key=lambda run: run["round"])


def _rates(variant: Variant, runs: list[dict], clock: str) -> dict:
    own = _of(runs, variant.name)
    seconds = statistics.median(run[clock] for run in own)
    return {
        "answer_tokens": variant.answer_tokens,
        "answer_tokens_per_second": variant.answer_tokens / seconds,
        "hypothesis_tokens_per_second": variant.hypothesis_tokens / seconds,
        "wall_seconds": statistics.median(run["wall"] for run in own),
        "cpu_seconds": statistics.median(run["cpu"] for run in own),
        "peak_bytes": max(run["peak_bytes"] for run in own),
        "disturbed_rounds": sum(run["disturbed"] for run in own),
    }


def _ratio(runs: list[dict], slow: str, fast: str, spec: Bench, variants: list[Variant]) -> float:
    """Median over rounds of seconds per answer token, slow over fast."""
    tokens = {v.name: v.answer_tokens for v in variants}
    pairs = zip(_of(runs, slow), _of(runs, fast), strict=True)
    return statistics.median(a[spec.clock] / tokens[slow] / (b[spec.clock] / tokens[fast]) for a, b in pairs)


def _parts(spec: Bench, guider: Guider, prompts: list[list[int]], products: Products) -> dict:
    """One more run, profiled, beside the floor of every part; without graphs, inside which no clock can stand."""
    variant = decoder("profiled", guider, prompts, Sampling(max_new_tokens=spec.new_tokens, seed=spec.seed))
    with profiled(guider, spec.clock) as profile:
        variant.run()
    works = list(unavoidable(guider, [len(p) for p in prompts], spec.new_tokens))
    parts = {part: {"seconds": profile.seconds.get(part, 0.0), "floor_seconds": 0.0} for part in PARTS}
    for work in works:
        parts[work.part]["floor_seconds"] += products.seconds(work)
    return {
        "profiled_seconds": profile.total,
        "parts": parts,
        "calls": [
            {"part": part, "call": name, "calls": count, "seconds": seconds}
            for (part, name), (count, seconds) in sorted(profile.calls.items(), key=lambda item: -item[1][1])
        ],
        "work": [
            {
                "part": work.part,
                "model": work.lm.name,
                "passes": work.passes,
                "rows": work.rows,
                "heads": work.heads,
                "multiplications": multiplications(work),
                "floor_seconds": products.seconds(work),
            }
            for work in works
        ],
        "before_first_step": (profile.before_first_step or 0.0) - profile.prefill_before_first_step,
        "prefill_before_first_step": profile.prefill_before_first_step,
        "cache_bytes": profile.cache_bytes,
    }


def _shares(spec: Bench, method: str, runs: list[dict], floors: list[float]) -> dict:
    """Floor over measured time, median over rounds."""
    shares = [floor / run[spec.clock] for floor, run in zip(floors, _of(runs, method), strict=True)]
    return {"floor_seconds": statistics.median(floors), "floor_share": statistics.median(shares)}


def _bandwidth(spec: Bench, guider: Guider, figures: dict, method: str, lengths: list[int]) -> dict:
    """A step beside the time in which its bytes can be read."""
    rate = copy_bandwidth(torch.device(spec.device), spec.clock)
    floor = step_bytes(guider, lengths, spec.new_tokens) / rate
    decoding = figures["rates"][method]["wall_seconds"] - figures["methods"][method]["parts"]["prefill"]["seconds"]
    step = decoding / spec.new_tokens
    return {"bytes_per_second": rate, "floor_seconds": floor, "step_seconds": step, "share": floor / step}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
