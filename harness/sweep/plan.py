"""The plan of a sweep: which trials there are, and what of them is done."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from harness.config.schema import Sweep
from harness.config.task_file import TaskFile, task_file
from harness.models.assemble import document_field, places
from harness.models.pool import Resolver
from harness.records.judgement import prompt_key
from harness.records.manifest import Manifest
from harness.records.run_folder import RunFolder
from harness.sweep.scorer import scorer
from harness.trials.trial import BASE, Setting, Trial

if TYPE_CHECKING:
    from harness.adapters.lm_eval_tasks import LoadedTask


@dataclass(frozen=True)
class Job:
    """A trial with what it takes to run it.

    Attributes:
        limit: prompts of the split at most; None: all.
        whole: whether the split is the whole task, and not one half of its prompts.
    """

    trial: Trial
    setting: Setting
    file: TaskFile
    limit: int | None
    whole: bool

    @property
    def is_base(self) -> bool:
        return self.trial.method == BASE

    @property
    def label(self) -> str:
        values = self.trial.settings.items()
        settings = [f"{axis}={value:g}" if isinstance(value, float) else f"{axis}={value}" for axis, value in values]
        return " ".join([self.trial.method, *settings, self.trial.split, f"seed={self.trial.seed}"])


class Plan:
    """The trials of a sweep.

    Args:
        resolver: finds the models; building the embedded ones, on first use, happens here.

    Raises:
        UserError: a task or a model that does not exist.
    """

    def __init__(self, sweep: Sweep, settings: list[Setting], resolver: Resolver, run: RunFolder, manifest: Manifest):
        self.sweep, self.settings, self.resolver, self.run, self.manifest = sweep, settings, resolver, run, manifest
        self.selects = sweep.select.metric is not None
        splits = ("dev", "test") if self.selects else ("all",)
        self.files = {split: task_file(sweep.task, split) for split in splits}
        for setting in settings:
            for place, spec in places(setting.config):
                resolver.revision(spec, place)
        self._best: list[Setting] = []
        self._tasks: dict[str, LoadedTask] = {}

    def _jobs(self, split: str, seeds: list[int], settings: list[Setting]) -> list[Job]:
        limit = self.sweep.task.n_dev if split == "dev" else self.sweep.task.n_test
        file, whole = self.files[split], split == "all" or self.sweep.task.dev is not None

        def trial(setting: Setting, seed: int) -> Trial:
            asked = self.asked(file, setting)
            return setting.trial(file.name, asked, split, seed, self.sweep, self.resolver, file.revision)

        return [
            Job(trial(setting, seed), setting, file, limit, whole)
            for setting in settings
            for seed in dict.fromkeys(seeds)
        ]

    def task(self, file: TaskFile) -> "LoadedTask":
        """An lm-eval task, loaded once."""
        from harness.adapters.lm_eval_tasks import LoadedTask

        if file.name not in self._tasks:
            self._tasks[file.name] = LoadedTask(file, self.sweep.task.data)
        return self._tasks[file.name]

    def asked(self, file: TaskFile, setting: Setting) -> dict[str, str]:
        """What a task asks of a setting, by content: its requests, and the documents' field that constrains responses.

        It is noted in the manifest for the files of now, else the task is loaded to find out. A task of lm-eval's own
        is known by lm-eval's version, and a dry run loads none that no sweep has loaded before.
        """
        shots = self.sweep.task.num_fewshot
        found = {"task": self._asked(file, f"num_fewshot={shots}", lambda task: task.asks(shots))}
        field = document_field(setting.config)
        if field is not None:
            found[f"task.{field}"] = self._asked(file, f"field={field}", lambda task: task.field(field))
        return found

    def _asked(self, file: TaskFile, what: str, ask: "Callable[[LoadedTask], str]") -> str:
        dry = not self.resolver.build and not self.manifest.has_asked(file.name)
        if file.path is None or dry:
            return file.revision
        name = f"{file.name}@{file.revision}/{what}"
        known = self.manifest.asks(name)
        if known is None:
            known = ask(self.task(file))
            self.manifest.record_asks(name, known)
        return known

    @cached_property
    def dev(self) -> list[Job]:
        return self._jobs("dev", self.sweep.select.seeds, self.settings) if self.selects else []

    def first_stage(self) -> list[Job]:
        """Every setting: on the dev prompts, or on all prompts where nothing is selected."""
        return self.dev if self.selects else self.everything

    @cached_property
    def everything(self) -> list[Job]:
        return self._jobs("all", self.sweep.seeds, self.settings)

    def select(self, best: list[Setting]) -> None:
        """Say which settings run on the test prompts."""
        self._best = best

    def second_stage(self) -> list[Job]:
        """The best setting of each method on the test prompts."""
        return self._jobs("test", self.sweep.seeds, self._best)

    def may_come(self) -> list[Job]:
        """Every job that the sweep can come to: which settings run on the test prompts is not known before."""
        return [*self.first_stage(), *(self._jobs("test", self.sweep.seeds, self.settings) if self.selects else ())]

    def dev_trials(self) -> list[tuple[Setting, list[Trial]]]:
        return [(setting, [job.trial for job in self.dev if job.setting is setting]) for setting in self.settings]

    def rows(self) -> Iterator[tuple[Trial, bool]]:
        """Every trial of the plan so far, and whether its setting is one that is reported."""
        for job in self.dev:
            yield job.trial, any(job.setting is setting for setting in self._best)
        for job in self.second_stage() if self.selects else self.everything:
            yield job.trial, True

    def baseline(self, job: Job) -> Job:
        """The base's job of the same split and seed."""
        jobs = [*self.dev, *(self.second_stage() if self.selects else self.everything)]
        wanted = (job.trial.split, job.trial.seed)
        return next(other for other in jobs if other.is_base and (other.trial.split, other.trial.seed) == wanted)

    def dataset(self, job: Job) -> str:
        """The name of a job's prompts in the manifest: they differ where any of this differs."""
        trial = job.trial
        prompting = prompt_key(repr(sorted(trial.prompting.items())))[:8]
        return f"{trial.task}@{trial.revisions['task']}/{trial.split}/{job.limit or 'all'}/{prompting}"

    def prompts(self, job: Job) -> int | None:
        """How many distinct prompts a job has; None where no sweep has counted them yet."""
        return self.manifest.prompts(self.dataset(job))

    def missing(self, job: Job) -> int | None:
        """How many samples a job lacks; None where the number of prompts is not known yet."""
        prompts = self.prompts(job)
        prompts = job.limit if prompts is None else prompts
        return None if prompts is None else max(0, prompts - len(self.run.rows(self.run.records(job.trial.id))))

    def is_complete(self, job: Job) -> bool:
        """Whether every prompt of a job is recorded, and scored by the scorer of now."""
        prompts = self.prompts(job)
        if prompts is None:
            return False
        scores = self.run.rows(self.run.scores(job.trial.id), last=True).values()
        scored = sum(row.get("scorer") == self.scorer(job) for row in scores)
        return min(len(self.run.rows(self.run.records(job.trial.id))), scored) >= prompts

    def scorer(self, job: Job) -> str:
        """Who scores a job's responses, by content."""
        return scorer(job.file, self.sweep.task.gold, self.resolver)

    def models(self) -> dict[str, str]:
        """Path or name -> revision of every model, the gold model and a reward judge's among them."""
        found = {}
        for setting in self.settings:
            for place, spec in places(setting.config):
                found[spec["path"]] = self.resolver.revision(spec, place)
        gold, judge = self.sweep.task.gold, self.sweep.judge or {}
        if gold.path is not None:
            found[gold.path] = self.resolver.revision(gold.model_dump(), "task.gold")
        if judge.get("name") == "reward" and judge.get("model") is not None:
            spec = {"path": judge["model"], "revision": judge.get("revision")}
            found[judge["model"]] = self.resolver.revision(spec, "judge.model")
        return found
