"""What ``--dry-run`` prints: the trials, what of them is recorded, and how long the rest will take."""

import math
from collections import defaultdict
from statistics import fmean

from harness.backends.makespan import makespan
from harness.models.assemble import places
from harness.models.pool import EMBEDDED, Pool
from harness.progress import duration
from harness.sweep.plan import Job, Plan
from harness.trials import requirements

PROMPT = 512  # tokens of a prompt, where nobody has read the data yet


def dry_run(plan: Plan) -> str:
    """The plan in words: a line per trial, then the sums."""
    jobs = plan.first_stage()
    lines, unknown = [], False
    first: list[float] = []  # seconds of each block, as a backend hands them out
    second: list[float] = []
    seconds = seconds_per_row(plan, jobs)
    fallback = fmean(seconds.values()) if seconds else None
    done = needed = 0
    for job in jobs:
        missing, recorded = plan.missing(job), recorded_samples(plan, job)
        prompts = "?" if missing is None else recorded + missing
        lines.append(f"  {job.label:<60} {recorded:>6} / {prompts}")
        done += recorded
        needed += missing or 0
        each = seconds.get(job.trial.method, fallback)
        unknown = unknown or missing is None or (missing > 0 and each is None)
        first += _blocks(missing or 0, (each or 0.0) * job.trial.rows, plan.sweep.block)
    text = [
        f"run: {plan.run.path}",
        f"{plan.first_stage()[0].trial.split}: {len(jobs)} trials (samples recorded / needed)",
        *lines,
    ]
    if plan.selects:
        methods = {setting.method: None for setting in plan.settings}
        samples = (plan.sweep.task.n_test or 0) * len(plan.sweep.seeds)
        shown = samples or "all prompts' "
        text.append(f"test: then the best setting of each of {len(methods)} methods, {shown} samples each")
        for method in methods:
            each = seconds.get(method, fallback)
            unknown = unknown or each is None or not samples
            rows = fmean(one.rows for one in plan.settings if one.method == method)
            second += _blocks(samples, (each or 0.0) * rows, plan.sweep.block)
    paths = {spec["path"] for setting in plan.settings for _, spec in places(setting.config)}
    if any(path.startswith(EMBEDDED) for path in paths) and plan.resolver.missing:
        text.append("the embedded models are built first, once: about two minutes on two cores")
    text.append(f"samples of the first stage: {done} recorded, {needed} to generate")
    text += _memory(plan)
    text.append(f"time left: {_not_known(plan) if unknown else _time(plan, first, second)}")
    return "\n".join(text)


def _blocks(samples: int, seconds: float, size: int) -> list[float]:
    """The seconds of each block of so many samples of `seconds` each."""
    return [min(size, samples - start) * seconds for start in range(0, samples, size)]


def _time(plan: Plan, first: list[float], second: list[float]) -> str:
    """How long the blocks of both stages take; on workers, which wait for each other between the stages."""
    backend = plan.sweep.backend
    if backend.name == "serial":
        return "about " + duration(sum(first) + sum(second))
    asked = [backend.workers] if backend.workers else [1, 8, 64]
    shown = [f"{duration(makespan(first, n) + makespan(second, n))} on {n} worker{'s' * (n > 1)}" for n in asked]
    return "about " + ", ".join(shown) + "; loading models, scoring and judging come on top"


def _not_known(plan: Plan) -> str:
    """What can be said of the time before the first samples are recorded: by the sizes of the models."""
    sweep, said = plan.sweep, "not known until the first samples are recorded"
    asked, needs = requirements.prompts(sweep), requirements.models(sweep, plan.settings)
    each = [requirements.of_response(sweep, setting, needs) for setting in plan.settings]
    if asked is None or None in each:
        return said
    floor = " (at least: a floor of an H200)" if requirements.is_floor(sweep) else ""
    stages = _stages_by_size(plan, asked, [one or 0.0 for one in each])
    return f"{said}; by the sizes of the models{floor} {_time(plan, *stages)}"


def _stages_by_size(plan: Plan, asked: int, each: list[float]) -> tuple[list[float], list[float]]:
    """The seconds of every block of both stages; in the second, each method's mean over its settings.

    Args:
        asked: prompts of the test split. each: seconds of a response, by setting.
    """
    sweep, settings = plan.sweep, plan.settings
    dev = sweep.task.n_dev or math.ceil(asked / 2)
    samples = dev * len(sweep.select.seeds) if plan.selects else asked * len(sweep.seeds)
    first = [block for seconds in each for block in _blocks(samples, seconds, sweep.block)]
    second: list[float] = []
    for method in {setting.method: None for setting in settings} if plan.selects else ():
        mean = fmean(one for one, setting in zip(each, settings, strict=True) if setting.method == method)
        second += _blocks(asked * len(sweep.seeds), mean, sweep.block)
    return first, second


def _memory(plan: Plan) -> list[str]:
    """What a prompt of the setting that needs most takes, where the models are on this machine; no weights are read."""
    from guiders.decoding.memory import in_words, needed, usable  # torch, which a sweep that is done does not import

    sweep, tokens = plan.sweep, requirements.limit(plan.sweep)
    here = ("embedded", "folder", "cached")
    if tokens is None or any(need.where not in here for need in requirements.models(sweep, plan.settings)):
        return []
    pool, found = Pool(plan.resolver, sweep.device), []
    for setting in plan.settings:
        guider = pool.guider(setting.config)
        prompt = max(1, min(PROMPT, *(lm.max_length - tokens for lm in guider.readers)))
        found.append((needed(guider, prompt, tokens, sweep.device), prompt, setting))
    need, prompt, setting = max(found, key=lambda one: one[0].total)
    there = usable(sweep.device, None if sweep.memory is None else int(sweep.memory * 1e9))
    said = "" if there is None else f", of {in_words(there)}: {'too much' if need.total > there else 'enough'}"
    return [f"memory: {setting.method}: {need.in_words(setting.rows)} at {prompt} tokens of prompt{said}"]


def recorded_samples(plan: Plan, job: Job) -> int:
    return len(plan.run.rows(plan.run.records(job.trial.id)))


def seconds_per_row(plan: Plan, jobs: list[Job]) -> dict[str, float]:
    """method -> mean decoding seconds of a recorded sample, for each row of its search."""
    found: dict[str, list[float]] = defaultdict(list)
    for job in jobs:
        rows = plan.run.rows(plan.run.records(job.trial.id)).values()
        found[job.trial.method] += [row["seconds"] / job.trial.rows for row in rows]
    return {method: fmean(values) for method, values in found.items() if values}
