"""The verb ``sweep``: every setting on the dev prompts, the best of each method on the test prompts, one report."""

import os
import shlex
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.config.compose import compose
from harness.config.help import show_options
from harness.config.schema import Sweep, validated
from harness.config.task_file import with_dev
from harness.models import tiny
from harness.models.pool import Resolver
from harness.records.judgement import TOO_MANY_MISSING
from harness.records.manifest import Manifest
from harness.records.progress import Progress, duration
from harness.records.run_folder import RunFolder, write_text
from harness.sweep.estimate import dry_run
from harness.sweep.judging import Judging
from harness.sweep.plan import Job, Plan
from harness.sweep.selection import best_settings
from harness.sweep.tax import run_tax
from harness.trials.trial import settings_of
from harness.verbs.report import compile_run
from reports.direction import Directions
from reports.guard import Guard

if TYPE_CHECKING:
    from harness.sweep.runner import Runner


def main(arguments: list[str]) -> int:
    """``python -m harness sweep [--dry-run] [key=value ...]``"""
    if {"-h", "--help"} & set(arguments):
        show_options("sweep", Sweep, {"--dry-run": "print the trials, what is done and the time left; run nothing"})
        return 0
    os.environ.setdefault("TQDM_DISABLE", "1")  # other packages' bars; the sweep has its own
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    dry = "--dry-run" in arguments
    overrides = [argument for argument in arguments if argument != "--dry-run"]
    composed = compose("sweep", overrides)
    named = composed.config["model"]["base"]["path"]
    about = [figure for figure in composed.config["published"] if figure["model"] == named]
    config = {**composed.config, "published": about}
    config = tiny.replaced(config) if config["models"] == "tiny" else config
    sweep = validated(Sweep, config)
    if sweep.select.metric and not sweep.task.names:
        sweep = sweep.model_copy(update={"task": with_dev(sweep.task)})
    settings = settings_of(sweep, composed.guider_overrides)
    judging = Judging(sweep.judge, sweep.select.metric or "gold_reward") if sweep.judge else None
    run = RunFolder(sweep.run_dir)
    if dry and sweep.task.names:
        print(f"{len(settings)} settings, each on {', '.join(sweep.task.names)}; a setting that is done is read back")
        return 0
    if dry:
        plan = Plan(sweep, settings, Resolver(build=False), run, Manifest(run.path / "manifest.json"))
        print(dry_run(plan))
        return 0
    run.open()
    try:
        if sweep.task.names:
            command = ["python", "-m", "harness", "sweep", *map(_shown, arguments)]
            return run_tax(sweep, settings, run, command)
        return _run(sweep, settings, judging, run, arguments, composed.guider_overrides)
    finally:
        run.close()


def _run(sweep: Sweep, settings, judging: Judging | None, run: RunFolder, arguments: list[str], overrides: list) -> int:
    began = time.perf_counter()
    manifest = Manifest(run.path / "manifest.json")
    if line := manifest.other_code():
        print(line, file=sys.stderr)
    write_text(run.path / "config.yaml", _config_text(sweep, overrides))
    manifest.record_published([figure.model_dump() for figure in sweep.published])
    manifest.record_judge(judging.named() if judging else None)
    plan = Plan(sweep, settings, Resolver(), run, manifest)
    if plan.resolver.seconds:
        manifest.add_seconds("models", plan.resolver.seconds)
    command = ["python", "-m", "harness", "sweep", *arguments]
    stage = Stage(plan, judging, manifest, command)
    stage.run(plan.first_stage(), "dev" if sweep.select.metric else "all")
    if sweep.select.metric:
        guards = [Guard.parse(text) for text in sweep.select.guard]
        best = best_settings(run, plan.dev_trials(), sweep.select.metric, stage.directions, guards)
        for method in dict.fromkeys(setting.method for setting in settings):
            if all(setting.method != method for setting in best):
                bounds = " and ".join(map(str, guards))
                print(f"{method}: no setting keeps {bounds} on the dev prompts; it is not run on the test prompts")
        plan.select(best)
        stage.run(plan.second_stage(), "test")
    run.write_trials(plan.rows())
    if stage.generated:
        print(f"generated {stage.generated} samples in {duration(time.perf_counter() - began)}")
    else:
        print("nothing to generate: every sample of this configuration is recorded")
    compile_run(run)
    print(f"report: {run.report / 'index.html'}")
    if judging and (line := judging.too_many_missing(run, [trial for trial, _ in plan.rows()])):
        print(line, file=sys.stderr)
        return TOO_MANY_MISSING
    return 0


class Stage:
    """Runs the jobs of a stage: decode, score, judge.

    Attributes:
        generated: samples that were decoded by this process.
    """

    def __init__(self, plan: Plan, judging: Judging | None, manifest: Manifest, command: list[str]):
        self.plan, self.judging, self.manifest, self.command = plan, judging, manifest, command
        self.generated = 0
        self._runner: Runner | None = None

    def run(self, jobs: Sequence[Job], name: str) -> None:
        """Do what is missing of some jobs; a complete job costs the reading of its files."""
        self.plan.run.write_trials(self.plan.rows())
        todo = [job for job in jobs if not self.plan.is_complete(job)]
        began = time.perf_counter()
        if todo:
            runner = self._start()
            samples = sum(self.plan.missing(job) or 0 for job in todo)
            with runner.progress.stage(name, samples):
                for number, job in enumerate(todo, 1):
                    self.generated += runner.run(job, f"{number}/{len(todo)}")
        for job in jobs:
            if self.judging and not job.is_base:
                self.judging.judge(self.plan.run, job.trial, self.plan.baseline(job).trial, self.directions)
        if todo:
            self.manifest.add_seconds(name, time.perf_counter() - began)
            self.manifest.write()

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
            self._runner = Runner(self.plan, self.manifest, Progress())
            self._runner.prepare()
            self.manifest.record_run(
                [_shown(word) for word in self.command], self.plan.sweep.device, self.plan.models()
            )
            self.manifest.write()
        return self._runner


def _shown(word: str) -> str:
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
