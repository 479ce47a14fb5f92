"""What works in a process of its own, whoever started the process: models are loaded once and kept."""

import os
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.backends.protocol import Batch, Block, Item
from harness.backends.serial import generated

if TYPE_CHECKING:
    from guiders import Generation
    from harness.judges.reward_model import RewardModels
    from harness.models.pool import Pool


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker decodes; plain values.

    Attributes:
        device: "cpu", "cuda": a worker sees its own GPUs alone.
        threads: of torch. batch_tokens, trace, on_long_prompt, memory: see `harness.backends.serial.Serial`.
        path: where the driver imports from, so that guiders of the user's own are found.
    """

    device: str
    threads: int
    batch_tokens: int | None
    trace: bool
    on_long_prompt: str
    memory: int | None
    path: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """An error of the user's, which would be the same in the driver: its message and exit code."""

    message: str
    exit_code: int


class Worker:
    """Decodes blocks and scores batches; made in its own process."""

    def __init__(self, settings: WorkerSettings):
        import torch

        sys.path += [place for place in settings.path if place not in sys.path]
        torch.set_num_threads(settings.threads)
        self.settings = settings
        self._pool: Pool | None = None
        self._rewards: RewardModels | None = None

    def about(self) -> dict:
        """Who this is: host, process, the GPUs that it sees."""
        import torch

        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return {"host": socket.gethostname(), "pid": os.getpid(), "gpus": gpus}

    def run(self, item: Item) -> "Iterator[tuple[Generation | list[float], float] | Refusal]":
        """A block's generations as they are done, or a batch's rewards at once, each answer with the seconds since the
        one before; or a refusal."""
        began = time.perf_counter()
        try:
            for answer in [self._scored(item)] if isinstance(item, Batch) else self._decoded(item):
                now = time.perf_counter()
                yield answer, now - began
                began = now
        except ValueError as error:
            if not hasattr(error, "exit_code"):
                raise
            yield Refusal(str(error), error.exit_code)

    def _decoded(self, block: Block) -> "Iterator[Generation]":
        options = (self.settings.batch_tokens, self.settings.trace, self.settings.on_long_prompt, self.settings.memory)
        return generated(self._loaded().guider(block.guider), block.prompts, block.sampling, *options)

    def _scored(self, batch: Batch) -> list[float]:
        from harness.judges.reward_model import RewardModels

        self._rewards = self._rewards or RewardModels()
        return self._rewards.of(batch.model).score(batch.pairs)

    def _loaded(self) -> "Pool":
        from harness.models.pool import Pool, Resolver

        if self._pool is None:  # not sooner: a device that is not there is told as an answer
            self._pool = Pool(Resolver(), self.settings.device)
        return self._pool
