"""What decodes blocks in a process of its own, whoever started the process: models are loaded once and kept."""

import os
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.backends.protocol import Block

if TYPE_CHECKING:
    from guiders import Generation
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
    """Decodes blocks; made in its own process."""

    def __init__(self, settings: WorkerSettings):
        import torch

        sys.path += [place for place in settings.path if place not in sys.path]
        torch.set_num_threads(settings.threads)
        self.settings = settings
        self._pool: Pool | None = None

    def about(self) -> dict:
        """Who this is: host, process, the GPUs that it sees."""
        import torch

        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return {"host": socket.gethostname(), "pid": os.getpid(), "gpus": gpus}

    def decode(self, block: Block) -> "Iterator[tuple[Generation, float] | Refusal]":
        """A block's generations as they are done, each with the seconds since the one before; or a refusal."""
        from guiders import generate

        began = time.perf_counter()
        try:
            guider = self._loaded().guider(block.guider)
            for generation in generate(
                guider,
                [one.prompt for one in block.prompts],
                block.sampling,
                self.settings.batch_tokens,
                self.settings.trace,
                on_long_prompt=self.settings.on_long_prompt,
                memory=self.settings.memory,
                documents=[one.document for one in block.prompts],
            ):
                now = time.perf_counter()
                yield generation, now - began
                began = now
        except ValueError as error:
            if not hasattr(error, "exit_code"):
                raise
            yield Refusal(str(error), error.exit_code)

    def _loaded(self) -> "Pool":
        from harness.models.pool import Pool, Resolver

        if self._pool is None:  # not sooner: a device that is not there is told as an answer
            self._pool = Pool(Resolver(), self.settings.device)
        return self._pool
