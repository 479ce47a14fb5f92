"""A sweep from its first stage to its report: decode and score, judge, select, compile."""

import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from harness.config.schema import Sweep
from harness.models.pool import Resolver
from harness.progress import Display, duration
from harness.records.judgement import TOO_MANY_MISSING
from harness.records.manifest import Manifest
from harness.records.report import compile_run
from harness.records.run_folder import RunFolder, write_text
from harness.sweep.judging import Judging
from harness.sweep.plan import Job, Plan
from harness.sweep.rejected import RejectedRows
from harness.sweep.selection import best_settings
from harness.trials.composed import ComposedSweep
from reports.direction import Directions

if TYPE_CHECKING:
    from harness.sweep.runner import Runner


def run_sweep(composed: ComposedSweep, judging: Judging | None, run: RunFolder, arguments: list[str]) -> int:
    """Do what a run lacks, compile its report and print its table; the exit code.

    Args:
        run: the run's folder, open.
        arguments: of the command line, for the manifest.

    Returns:
        0, or 3 where more judgements are missing than ``judge.max_missing`` allows.
    """
    sweep, settings, overrides = composed.sweep, composed.settings, composed.guider_overrides
    began = time.perf_counter()
    manifest = Manifest(run.path / "manifest.json")
    if line := manifest.other_code():
        print(line, file=sys.stderr)
    write_text(run.path / "config.yaml", _config_text(sweep, overrides))
    manifest.record_published([figure.model_dump() for figure in sweep.published])
    manifest.record_judge(judging.named() if judging else None)
    manifest.record_signed_rows()
    plan = Plan(sweep, settings, Resolver(), run, manifest)
    if plan.resolver.seconds:
        manifest.add_seconds("models", plan.resolver.seconds)
    command = ["python", "-m", "harness", "sweep", *arguments]
    with closing(Stages(plan, judging, manifest, command)) as stages:
        _decoded(stages)
    run.write_trials(plan.rows())
    if stages.rejected.unsigned:
        said = "rows were written by an earlier version, without checksums: a change in them would not be noticed"
        print(f"{run.path}: {stages.rejected.unsigned} {said}", file=sys.stderr)
    if stages.generated:
        print(f"generated {stages.generated} samples in {duration(time.perf_counter() - began)}")
    else:
        print("nothing to generate: every sample of this configuration is recorded")
    compile_run(run)
    print(f"report: {run.report / 'index.html'}")
    if judging and (line := judging.too_many_missing(run, [trial for trial, _ in plan.rows()])):
        print(line, file=sys.stderr)
        return TOO_MANY_MISSING
    return 0


def _decoded(stages: "Stages") -> None:
    """Both stages of a sweep, with the selection between them."""
    plan = stages.plan
    select = plan.sweep.select
    stages.run(plan.first_stage(), "dev" if select.metric else "all")
    if select.metric is None:
        return
    guards = select.bounds
    best = best_settings(plan.run, plan.dev_trials(), select.metric, stages.directions, guards)
    for method in dict.fromkeys(setting.method for setting in plan.settings):
        if all(setting.method != method for setting in best):
            bounds = " and ".join(map(str, guards))
            print(f"{method}: no setting keeps {bounds} on the dev prompts; it is not run on the test prompts")
    plan.select(best)
    stages.run(plan.second_stage(), "test")


class Stages:
    """Runs the stages of a sweep: the jobs of each are decoded, scored and judged.

    Attributes:
        generated: samples that were decoded by this process.
    """

    def __init__(self, plan: Plan, judging: Judging | None, manifest: Manifest, command: list[str]):
        self.plan, self.judging, self.manifest, self.command = plan, judging, manifest, command
        self.generated = 0
        self.rejected = RejectedRows(plan.run)
        self._runner: Runner | None = None
        if judging and plan.sweep.backend.name != "serial":
            judging.rewards.elsewhere = lambda batches: self._start().backend.run(batches)

    def run(self, jobs: Sequence[Job], name: str) -> None:
        """Do what is missing of some jobs; a complete job costs the reading of its files."""
        self.plan.run.add_trials(self.plan.rows())
        self._reject_bad_rows(jobs)
        todo = [job for job in jobs if not self.plan.is_complete(job)]
        began = time.perf_counter()
        if todo:
            runner = self._start()
            samples = sum(self.plan.missing(job) or 0 for job in todo)
            try:
                with runner.progress.stage(name, samples):
                    self.generated += runner.run(todo)
            finally:
                self.manifest.record_backend(runner.backend.named())
        for job in jobs:
            if self.judging and not job.is_base:
                baseline = self.plan.baseline(job).trial
                self.judging.judge(self.plan.run, job.trial, baseline, self.directions, self.plan.resolver)
        if todo:
            self.manifest.add_seconds(name, time.perf_counter() - began)
            self.manifest.write()

    def close(self) -> None:
        """End the backend's workers."""
        if self._runner is not None:
            self._runner.backend.close()

    def _reject_bad_rows(self, jobs: Sequence[Job]) -> None:
        baselines = {id(job): None if job.is_base else self.plan.baseline(job).trial.id for job in jobs}
        self.rejected.trials((job.trial.id, baselines[id(job)]) for job in jobs)
        for line in self.rejected.said():
            print(line, file=sys.stderr)

    @property
    def directions(self) -> Directions:
        """Which way of the task's metrics is better: as recorded, else (in a run of before that) as the task says."""
        if self.manifest.higher_is_better is None:
            self._start()
        return Directions(self.manifest.higher_is_better or {})

    def _start(self) -> "Runner":
        """Load what decoding needs: lm-eval, tokenizers (and so vocabularies are compared), but no weights yet."""
        from harness.sweep.runner import Runner

        if self._runner is None:
            if self.judging:
                self.judging.check()
            self._runner = Runner(
                self.plan, self.manifest, Display(sys.stdout), rewards=self.judging.rewards if self.judging else None
            )
            self._runner.prepare()
            self.manifest.record_run(
                [shown_word(word) for word in self.command], self.plan.sweep.device, self.plan.models()
            )
            self.manifest.write()
        return self._runner


def shown_word(word: str) -> str:
    """A word of the command line; what looks like a key is not written down."""
    name, sign, _ = word.partition("=")
    hidden = sign and any(part in name.lower() for part in ("api_key", "token=", "secret", "password"))
    return shlex.quote(f"{name}=***" if hidden else word)


def _config_text(sweep: Sweep, overrides: list[tuple[str, object]]) -> str:
    import yaml

    values = sweep.model_dump()
    if overrides:
        values["guider_overrides"] = dict(overrides)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
