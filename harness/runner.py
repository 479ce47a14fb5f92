"""Runs jobs inside lm-eval: models and tasks are loaded once and only when something is missing."""

import hashlib

from guiders.room import fitted
from harness.adapters.lm_eval import GuidedLM, decode
from harness.adapters.lm_eval_tasks import LoadedTask
from harness.gold import GoldReward
from harness.manifest import Manifest
from harness.models import Pool
from harness.plan import Job, Plan
from harness.progress import Progress
from harness.trial_run import Recorder, record_scores


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
            scored = task.evaluate(model, sweep.task, indices(len(task), trial.split, job))
            if self._gold is not None:
                rows = run.rows(run.records(trial.id)).values()
                scored = self._gold.added(scored, {row["prompt"]: row["response"] for row in rows})
            record_scores(run, trial, scored)
        texts = list(dict.fromkeys(text for text, _ in scored))
        if recorder.truncated:
            self.progress.say(f"{job.label}: {recorder.truncated} prompts were too long and lost their beginning")
            self.manifest.record_truncated(trial.id, recorder.truncated)
        self.manifest.record_dataset(
            self.plan.dataset(job), len(texts), hashlib.sha256("\0".join(texts).encode()).hexdigest()
        )
        self.manifest.write()
        return recorder.generated


def indices(documents: int, split: str, job: Job) -> list[int]:
    """Which documents of a task a split takes.

    A task with its own dev task, or one whose settings are not selected, gives all; else the even ones are dev and the
    odd ones are test. At most ``job.limit`` of them.
    """
    halves = {"dev": range(0, documents, 2), "test": range(1, documents, 2)}
    chosen = list(range(documents) if job.whole else halves[split])
    return chosen[: job.limit]
