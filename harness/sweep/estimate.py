"""What ``--dry-run`` prints: the trials, what of them is recorded, and how long the rest will take."""

from collections import defaultdict
from statistics import fmean

from harness.models.assemble import places
from harness.models.pool import EMBEDDED
from harness.progress import duration
from harness.sweep.plan import Job, Plan


def dry_run(plan: Plan) -> str:
    """The plan in words: a line per trial, then the sums."""
    jobs = plan.first_stage()
    lines, left, unknown = [], 0.0, False
    seconds = seconds_per_sample(plan, jobs)
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
        left += (missing or 0) * (each or 0.0)
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
            left += samples * (each or 0.0)
    paths = {spec["path"] for setting in plan.settings for _, spec in places(setting.config)}
    if any(path.startswith(EMBEDDED) for path in paths) and plan.resolver.missing:
        text.append("the embedded models are built first, once: about two minutes on two cores")
    text.append(f"samples of the first stage: {done} recorded, {needed} to generate")
    text.append(
        f"time left: {'not known until the first samples are recorded' if unknown else 'about ' + duration(left)}"
    )
    return "\n".join(text)


def recorded_samples(plan: Plan, job: Job) -> int:
    return len(plan.run.rows(plan.run.records(job.trial.id)))


def seconds_per_sample(plan: Plan, jobs: list[Job]) -> dict[str, float]:
    """method -> mean decoding seconds of a recorded sample."""
    found = defaultdict(list)
    for job in jobs:
        found[job.trial.method] += [row["seconds"] for row in plan.run.rows(plan.run.records(job.trial.id)).values()]
    return {method: fmean(values) for method, values in found.items() if values}
