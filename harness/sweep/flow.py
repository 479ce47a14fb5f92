"""The jobs of a stage on their way through a backend: prompts to be decoded, responses to be scored, results taken."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.backends.protocol import Batch, Item
from harness.judges.reward_model import RewardModel
from harness.progress import Display
from harness.sweep.plan import Job
from harness.sweep.recorder import Recorder

if TYPE_CHECKING:
    from guiders import Sampling


@dataclass
class Running:
    """A job that is being decoded and scored.

    Attributes:
        place: its number, as in ``3/17``.
        rewards: place of a response among the trial's -> its reward, of those that have come; None: none are asked for.
    """

    job: Job
    recorder: Recorder
    place: str
    began: float
    rewards: dict[int, float] | None = None

    @property
    def is_scored(self) -> bool:
        return self.rewards is None or len(self.rewards) == len(self.recorder.prompts)

    @property
    def by_prompt(self) -> dict[str, float]:
        """Prompt's text -> the reward of its response."""
        return {text: (self.rewards or {})[place] for place, text in enumerate(self.recorder.responses)}


class Flow:
    """Items of some jobs, as there is room for them, and what comes of them.

    Args:
        asked: a job's recorder and how its prompts are sampled.
        gold: scores the responses of a job when all are recorded; None: nothing does.
        finish: called with a job that is decoded and scored.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        asked: "Callable[[Job], tuple[Recorder, Sampling]]",
        gold: RewardModel | None,
        finish: Callable[[Running], None],
        progress: Display,
    ):
        self._jobs, self._asked, self._gold, self._finish, self._progress = jobs, asked, gold, finish, progress
        self._running: dict[str, Running] = {}
        self._batches: deque[Batch] = deque()

    def items(self) -> Iterator[Item]:
        """Every block that lacks a record, and the batches of jobs that are decoded by then."""
        for number, job in enumerate(self._jobs, 1):
            recorder, sampling = self._asked(job)
            at = Running(job, recorder, f"{number}/{len(self._jobs)}", time.perf_counter())
            self._running[job.trial.id] = at
            self._progress.begin(f"{at.place} {job.label}")
            if recorder.is_complete:
                self._decoded(at)
            else:
                yield from recorder.blocks(job.setting.config, sampling)
            yield from self.batches()

    def batches(self) -> Iterator[Batch]:
        """Batches of jobs that have been decoded since these were last asked for."""
        while self._batches:
            yield self._batches.popleft()

    def take(self, item: Item, found: list[Any]) -> int:
        """Record what came of an item; how many samples are new."""
        at = self._running.get(item.trial)
        if at is None:  # worked on again, as its worker died, when the trial had all it lacked
            return 0
        if isinstance(item, Batch):
            at.rewards = (at.rewards or {}) | dict(zip(item.places, found, strict=True))
            self._finish_scored(at)
            return 0
        lacked, new = not at.recorder.is_complete, at.recorder.add(item, found)
        if lacked and at.recorder.is_complete:
            self._decoded(at)
        return new

    def _decoded(self, at: Running) -> None:
        if self._gold is not None:
            at.rewards = {}
            self._batches.extend(self._gold.batches(list(at.recorder.responses.items()), at.job.trial.id))
        self._finish_scored(at)

    def _finish_scored(self, at: Running) -> None:
        if at.is_scored:
            self._finish(self._running.pop(at.job.trial.id))
