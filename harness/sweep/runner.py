"""Runs jobs inside lm-eval: models and tasks are loaded once and only when something is missing."""

import hashlib
import sys

from guiders.decoding.room import fitted
from harness.adapters.lm_eval import GuidedLM, decode
from harness.adapters.lm_eval_tasks import LoadedTask
from harness.config.nearest import nearest
from harness.errors import UserError
from harness.models.pool import Pool
from harness.records.manifest import Manifest
from harness.records.progress import Progress
from harness.sweep.gold import METRIC as GOLD
from harness.sweep.gold import GoldReward
from harness.sweep.plan import Job, Plan
from harness.sweep.recorder import Recorder, record_scores
from harness.sweep.selection import MEASURED
from reports.guard import Guard


class Runner:
    """Runs the jobs of a plan."""

    def __init__(self, plan: Plan, manifest: Manifest, progress: Progress):
        self.plan, self.manifest, self.progress = plan, manifest, progress
        self.pool = Pool(plan.resolver, plan.sweep.device)
        self._tasks: dict[str, LoadedTask] = {}
        self._guiders: dict[int, object] = {}
        self._gold: GoldReward | None = None

    def prepare(self) -> None:
        """Build every guider, which reads and compares tokenizers, and load the task of every split; no weights.

        Raises:
            UserError, GuiderError: what is wrong with any of them, before anything is decoded.
        """
        for setting in self.plan.settings:
            self._guiders[id(setting)] = self.pool.guider(setting.config)
        gold = self.plan.sweep.task.gold
        if gold.path is not None and self._gold is None:
            self._gold = GoldReward(gold, self.plan.resolver, self.plan.sweep.device)
        for file in self.plan.files.values():
            if file.name not in self._tasks:
                self._tasks[file.name] = LoadedTask(file, self.plan.sweep.task.data)
        self._check_prompts()
        self._check_metrics()
        self.manifest.record_directions(_directions(self._tasks))

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

    def run(self, job: Job, place: str) -> int:
        """Decode, record and score what a job lacks; the number of new samples."""
        sweep, run, trial = self.plan.sweep, self.plan.run, job.trial
        guider, task = self._guiders[id(job.setting)], self._tasks[job.file.name]

        def generate(prompts, sampling):
            return decode(guider, prompts, sampling, sweep.batch_tokens, sweep.record.trace, sweep.task.on_long_prompt)

        def check(prompts, sampling):
            fitted(guider, [one.prompt for one in prompts], sampling, sweep.task.on_long_prompt)

        recorder = Recorder(run, trial, generate, sweep.block, self.progress.advance, check)
        model = GuidedLM.of(lambda: guider, trial.sampling, trial.seed, trial.row(False), recorder.respond)
        with self.progress.trial(job.label, place):
            scored = task.evaluate(model, sweep.task, documents(task.distinct, trial.split, job))
            if self._gold is not None:
                rows = run.rows(run.records(trial.id)).values()
                scored = self._gold.added(scored, {row["prompt"]: row["response"] for row in rows})
            record_scores(run, trial, scored)
        texts = list(dict.fromkeys(text for text, _ in scored))
        if recorder.truncated:
            self.progress.say(f"{job.label}: {recorder.truncated} prompts were too long and lost their beginning")
            self.manifest.record_truncated(trial.id, recorder.truncated)
        self.manifest.record_dataset(
            self.plan.dataset(job), len(texts), hashlib.sha256("\0".join(texts).encode()).hexdigest(), task.repeated
        )
        self.manifest.write()
        return recorder.generated


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
