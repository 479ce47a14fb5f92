"""Where a sweep on Ray stops scaling: `python -m benchmarks.ray_limits [--workers 64 --blocks 10000 --seconds 2]`.

Workers that only sleep and answer stand in for the decoder, several to a process, each in a thread of its own. The
driver is the real one: it hands out blocks, takes generations as they come, and appends them to records on the disk.
Printed: records and blocks a second, the driver's share of a core, and the share of the ideal.
"""

import argparse
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from guiders import Generation, Sampling
from harness.backends.protocol import Asked, Block
from harness.backends.ray import Hand, Ray
from harness.backends.worker import WorkerSettings
from harness.config.schema import BackendSpec
from harness.records.run_folder import RunFolder
from harness.sweep.recorder import Recorder
from harness.trials.trial import Trial

PROMPTS = 8  # of a block
TEXT = "word " * 400  # an answer's length on AlpacaEval


class Sleeper:
    """A worker that takes so long for a block, and answers all of it at once."""

    seconds = float(os.environ.get("RAY_LIMITS_SECONDS", "2"))

    def __init__(self, settings: WorkerSettings):
        self.settings = settings

    def about(self) -> dict:
        """As `harness.backends.worker.Worker.about`."""
        return {"host": socket.gethostname(), "pid": os.getpid(), "gpus": []}

    def run(self, block: Block) -> Iterator[tuple[Generation, float]]:
        """As `harness.backends.worker.Worker.run`."""
        time.sleep(self.seconds)
        for index in range(len(block.prompts)):
            yield Generation(index, TEXT, tuple(range(400)), "eos", 0.5, 1.0, 1.0, 400, 0.1), 0.1


class Crowd(Ray):
    """Many workers in few processes, since a process of Python each would be too much for a small machine."""

    processes = 4

    def _start(self) -> None:
        if self._hands:
            return
        self._connect()
        each = -(-(self.spec.workers or 1) // self.processes)
        make = self._ray.remote(self.worker).options(num_cpus=1, max_restarts=0, max_concurrency=each)
        actors = [make.remote(self.settings) for _ in range(self.processes)]
        for place in range(self.spec.workers or 1):
            actor = actors[place % self.processes]
            self._hands.append(Hand(actor, starting=actor.about.remote()))


def main() -> None:
    """Parse the command line, measure, print."""
    import ray

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=10000)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a block")
    parser.add_argument("--processes", type=int, default=4, help="that the workers share")
    args = parser.parse_args()
    Crowd.processes = args.processes
    os.environ |= {"RAY_LIMITS_SECONDS": str(args.seconds), "RAY_USAGE_STATS_ENABLED": "0"}
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    ray.init("local", num_cpus=args.processes, object_store_memory=512 << 20, **quiet)
    backend = Crowd(
        BackendSpec(name="ray", workers=args.workers), WorkerSettings("cpu", 1, None, False, "error", None), Sleeper
    )
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        run.open()
        prompts = [Asked(f"prompt {i}", f"prompt {i}") for i in range(args.blocks * PROMPTS)]
        trial = Trial("simulated", {}, {"base": {"path": "x"}}, "task", {}, "test", {}, 0, {})
        recorder = Recorder(run, trial, prompts, PROMPTS)
        started, records = None, 0
        for block, generations in backend.run(recorder.blocks({"base": {"path": "x"}}, Sampling())):
            if started is None:  # the first answer: actors have been started
                started, spent = time.perf_counter(), time.process_time()
            records += recorder.add(block, generations)
        wall, cpu = time.perf_counter() - started, time.process_time() - spent
        run.close()
    backend.close()
    ray.shutdown()
    share = cpu / wall
    print(
        f"{args.workers} workers, {args.blocks} blocks of {PROMPTS} prompts and {args.seconds:g} s each: {wall:.1f} s"
    )
    print(f"{records / wall:.0f} records/s, {args.blocks / wall:.1f} blocks/s; driver: {100 * share:.1f}% of a core;")
    ideal = args.blocks * args.seconds / args.workers
    print(
        f"at 100% it would serve {records / cpu:.0f} records/s. {100 * ideal / wall:.1f}% of the ideal, {ideal:.1f} s"
    )


if __name__ == "__main__":
    main()
