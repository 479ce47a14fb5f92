"""From jobs to records and scores: a task's prompts in blocks, a backend that decodes them, lm-eval that scores."""

import hashlib
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from harness.adapters.lm_eval_recorded import RecordedLM
from harness.adapters.lm_eval_sampling import sampling_of
from harness.adapters.lm_eval_tasks import LoadedTask, TaskPrompts
from harness.backends.protocol import Backend, LeftOut
from harness.backends.serial import Serial
from harness.config.nearest import nearest
from harness.config.prompt_step import OVER_LENGTH
from harness.errors import UserError
from harness.judges.reward_model import RewardModel, RewardModels
from harness.models.assemble import document_field
from harness.models.pool import Pool
from harness.progress import Display
from harness.records.manifest import Manifest
from harness.sweep.flow import Flow, Running
from harness.sweep.gold import METRIC as GOLD
from harness.sweep.gold import with_gold_reward
from harness.sweep.plan import Job, Plan
from harness.sweep.recorder import Recorder, record_scores
from harness.sweep.room import ToDecode, check_disk, check_memory, fit_all
from harness.sweep.selection import MEASURED
from harness.trials import requirements
from reports.guard import Guard

if TYPE_CHECKING:
    from guiders import Guider, Sampling

GOLD_BATCH = 64  # texts that a gold model reads at once


class Runner:
    """Runs the jobs of a plan. Models and tasks are loaded once, and only when something is missing.

    Args:
        backend: decodes blocks; None: in this process.
        rewards: the reward models that the run has already.
    """

    def __init__(
        self,
        plan: Plan,
        manifest: Manifest,
        progress: Display,
        backend: Backend | None = None,
        rewards: RewardModels | None = None,
    ):
        self.plan, self.manifest, self.progress = plan, manifest, progress
        sweep = plan.sweep
        self._rewards = rewards or RewardModels()
        self.backend = backend or self._configured()
        elsewhere = sweep.backend.name != "serial"  # tokenizers are read here, weights where they are used
        self.pool = Pool(plan.resolver, "cpu" if elsewhere else sweep.device)
        self._tasks: dict[str, LoadedTask] = {}
        self._prompts: dict[tuple[str, str, int, str | None], TaskPrompts] = {}
        self._gold: RewardModel | None = None

    def _configured(self) -> Backend:
        sweep = self.plan.sweep
        memory = None if sweep.memory is None else int(sweep.memory * 1e9)
        how = (sweep.batch_tokens, sweep.record.trace, sweep.task.on_long_prompt, memory)
        if sweep.backend.name == "serial":
            return Serial(self.guider, *how, rewards=self._rewards)
        from harness.backends.ray import Ray
        from harness.backends.worker import WorkerSettings

        return Ray(sweep.backend, WorkerSettings(sweep.device, sweep.backend.cpus_per_worker, *how, tuple(sys.path)))

    def prepare(self) -> None:
        """Build every guider, which reads and compares tokenizers, load the task of every split, and hold every job to
        its models' contexts, memory and disk; no weights.

        Raises:
            UserError, GuiderError: what is wrong with any of them, before anything is decoded.
        """
        for setting in self.plan.settings:
            self.guider(setting.config)
        gold = self.plan.sweep.task.gold
        if gold.path is not None and self._gold is None:
            path, device = self.plan.resolver.folder(gold.model_dump(), "task.gold"), self.plan.sweep.device
            self._gold = self._rewards.get(path, gold.revision, GOLD_BATCH, device, gold.template, "task.gold")
        for file in self.plan.files.values():
            self._tasks[file.name] = self.plan.task(file)
        self._check_prompts()
        self._check_metrics()
        self._check_room()
        more = {} if self.plan.sweep.prompt.max_words is None else {OVER_LENGTH: False}
        self.manifest.record_directions(_directions(self._tasks) | more)

    def _check_prompts(self) -> None:
        """Warn of documents with one prompt, and of prompts that both choose and report the settings.

        Raises:
            UserError: a task of one prompt, which cannot do both.
        """
        halved = self.plan.selects and self.plan.sweep.task.dev is None
        for name, task in self._tasks.items():
            if halved and len(task.prompts) < 2:
                mend = "set task.dev=NAME, or select.metric=null"
                raise UserError(f"task {name}: a single prompt cannot choose the settings and report them too; {mend}")
            if task.repeated:
                said = f"{task.repeated} of {len(task)} documents repeat the prompt of an earlier one and are left out"
                print(f"warning: task {name}: {said}", file=sys.stderr)
        if self.plan.selects and not halved:
            dev, test = (self._tasks[self.plan.files[split].name] for split in ("dev", "test"))
            if both := len(dev.prompts.keys() & test.prompts.keys()):
                said = f"{both} of {len(test.prompts)} prompts of {test.file.name} are prompts of {dev.file.name} too"
                print(f"warning: task.dev: {said}: settings are reported on what chose them", file=sys.stderr)

    def _check_metrics(self) -> None:
        """Hold what selects the settings to be scores that somebody computes.

        Raises:
            UserError: a score of ``select.metric`` or ``select.guard`` that the task which chooses does not give.
        """
        select = self.plan.sweep.select
        if select.metric is None:
            return
        asked = {f"select.metric={select.metric}": select.metric}
        asked |= {f"select.guard={text}": Guard.parse(text).name for text in select.guard}
        task = self._tasks[self.plan.files["dev"].name]
        gold = [GOLD] if self._gold is not None else []
        for option, metric in asked.items():
            more = gold if option.startswith("select.metric") else [*gold, *MEASURED]
            if metric not in more and (known := task.scores(metric)) is not None:
                mend = nearest(metric, [*known, *more])
                raise UserError(f"{option}: the task {task.file.name} gives no such score; {mend}")

    def run(self, jobs: Sequence[Job]) -> int:
        """Decode, record and score what some jobs lack; the number of new samples."""
        flow = Flow(jobs, self._asked, self._gold, self._finish, self.progress)
        generated, items, left_out = 0, flow.items(), None
        while (first := next(items, None)) is not None:
            try:
                for item, found in self.backend.run(chain([first], items)):
                    new = flow.take(item, found)
                    self.progress.advance(new, self.backend.status())
                    generated += new
            except LeftOut as error:  # all else is done first
                left_out = left_out or error
            items = flow.batches()  # of what was decoded last
        if left_out is not None:
            raise left_out
        return generated

    def guider(self, config: dict) -> "Guider":
        """The guider of a setting's configuration, built once."""
        return self.pool.guider(config)

    def _asked(self, job: Job) -> "tuple[Recorder, Sampling]":
        """A job's prompts, asked of its task, beside what is recorded of them."""
        asked = self._prompts_of(job)
        recorder = Recorder(self.plan.run, job.trial, asked.prompts, self.plan.sweep.block)
        stop = [*job.trial.sampling["stop"], *self.plan.sweep.prompt.stop]
        return recorder, sampling_of(asked.gen_kwargs, {**job.trial.sampling, "stop": stop}, job.trial.seed)

    def _prompts_of(self, job: Job) -> TaskPrompts:
        task, base = self._tasks[job.file.name], self.guider(job.setting.config).base
        field = document_field(job.setting.config)
        key = (job.file.name, job.trial.split, id(base), field)
        if key not in self._prompts:
            places = documents(task.distinct, job.trial.split, job)
            found, step = task.prompts_of(base, self.plan.sweep.task, places, field), self.plan.sweep.prompt
            self._prompts[key] = replace(found, prompts=[step.asked(one) for one in found.prompts])
        return self._prompts[key]

    def _check_room(self) -> None:
        """Hold every job that may come to what its models, memory and disk have room for.

        Raises:
            UserError, GuiderError: prompts that do not fit into a model's context, all of them named; a setting that
                memory has no room for; a full disk.
        """
        sweep = self.plan.sweep
        jobs = fit_all((self._to_decode(job) for job in self.plan.may_come()), sweep)
        here = sweep.backend.name == "serial"  # workers look at their own machine's memory
        if here and (line := check_memory(jobs, sweep, requirements.weights(sweep, self.plan.settings))):
            print(line, file=sys.stderr)
        # of each method one setting runs on the test prompts
        stages = {(one.job.trial.method if one.job.trial.split == "test" else one.job.trial.id, one.job.trial.seed,
                   one.job.trial.split): (one, prompts) for one, prompts in jobs}  # fmt: skip
        check_disk(list(stages.values()), self.plan.run.path, sweep.record.trace)

    def _to_decode(self, job: Job) -> ToDecode:
        recorder, sampling = self._asked(job)
        places = documents(self._tasks[job.file.name].distinct, job.trial.split, job)
        asked = zip(self._prompts_of(job).prompts, places, strict=True)
        lacking = [(one.prompt, at) for one, at in asked if recorder.lacks(one)]
        prompts, left = [prompt for prompt, _ in lacking], [at for _, at in lacking]
        return ToDecode(job, self.guider(job.setting.config), sampling, prompts, left)

    def _finish(self, at: "Running") -> None:
        """Score a trial's recorded responses through lm-eval, and note its prompts in the manifest."""
        sweep, run, trial = self.plan.sweep, self.plan.run, at.job.trial
        task = self._tasks[at.job.file.name]
        responses = at.recorder.responses
        model = RecordedLM(self.guider(at.job.setting.config).base, responses, trial.row(False))
        scored = task.evaluate(model, sweep.task, documents(task.distinct, trial.split, at.job))
        if self._gold is not None:
            scored = with_gold_reward(scored, at.by_prompt)
        scored = sweep.prompt.with_violations(scored, responses)
        record_scores(run, trial, scored, self.plan.scorer(at.job))
        self.progress.done(f"{at.place} {at.job.label}", time.perf_counter() - at.began)
        texts = list(dict.fromkeys(text for text, _ in scored))
        if truncated := at.recorder.truncated:
            self.progress.say(f"{at.job.label}: {truncated} prompts were too long and lost their beginning")
            self.manifest.record_truncated(trial.id, truncated)
        self.manifest.record_dataset(
            self.plan.dataset(at.job), len(texts), hashlib.sha256("\0".join(texts).encode()).hexdigest(), task.repeated
        )
        self.manifest.write()


def _directions(tasks: dict[str, LoadedTask]) -> dict[str, bool]:
    """Which way of each metric is better; the dev task and the test task have one answer."""
    said: dict[str, tuple[str, bool]] = {}
    for name, task in tasks.items():
        for metric, higher in task.higher_is_better.items():
            first, known = said.setdefault(metric, (name, higher))
            if known != higher:
                raise UserError(
                    f"task {name}: higher_is_better of {metric} differs from that of {first}; mend one of the two"
                )
    return {metric: higher for metric, (_, higher) in said.items()}


def documents(distinct: list[int], split: str, job: Job) -> list[int]:
    """Which documents of a task a split takes: the first one of each of its prompts.

    A task with its own dev task, or one whose settings are not selected, gives all; else every other prompt is dev, the
    first one among them, and the rest is test, so that no prompt is in both. At most ``job.limit`` of them.

    Args:
        distinct: the first document of every prompt of the task, ascending.
    """
    halves = {"dev": distinct[0::2], "test": distinct[1::2]}
    return (distinct if job.whole else halves[split])[: job.limit]
