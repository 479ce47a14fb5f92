"""The driver of a Ray sweep is killed HARNESS_KILLS (2) times: the run that ends has every record once."""

import multiprocessing
import os
import random
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'ivg-harness[ray]'")

from test_ray import SMALL, differences, rows, swept

KILLS = int(os.environ.get("HARNESS_KILLS", "2"))
TOTAL = 3 * 3 + 3 * 3 * 2  # records: three methods on the dev prompts, and on the test prompts with two seeds


@pytest.mark.timeout(300 + 60 * KILLS)
def test_a_driver_killed_at_random_moments_leaves_the_records_of_a_serial_run(tiny, tmp_path):
    run, moments = tmp_path / "run", random.Random(7)
    options, killed = [*tiny, *SMALL, "seeds=[0,1]", "block=1"], 0
    for kill in range(KILLS):
        process = driver(run, options)
        wanted = (kill + 1) * TOTAL // (KILLS + 1)  # so that every kill finds some work done and some left
        while process.is_alive() and recorded(run) < wanted:
            time.sleep(0.02)
        if kill == 0 and process.is_alive():
            second = driver(run, options)
            second.join()
            assert second.exitcode == 2  # one driver at a time
        time.sleep(moments.uniform(0, 0.1))
        process.kill()
        process.join()
        killed += process.exitcode < 0
    before = recorded(run)
    print(f"drivers killed: {killed}, records at the last kill: {before}")
    last = driver(run, options)
    last.join()
    assert last.exitcode == 0
    assert before > 0
    assert killed
    assert recorded(run) == TOTAL
    assert swept(tmp_path / "serial", *options) == 0
    assert not differences(rows(run), rows(tmp_path / "serial"))


def driver(run: Path, options: list[str]) -> multiprocessing.Process:
    """A process of its own that sweeps; what it imports was imported once, by the server that forks it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["harness.sweep.run", "harness.sweep.runner", "harness.backends.ray", "ray"])
    process = context.Process(target=sweep, args=(run, options))
    process.start()
    return process


def sweep(run: Path, options: list[str]) -> None:
    sys.exit(swept(run, *options, "backend=ray"))


def recorded(run: Path) -> int:
    return sum(file.read_bytes().count(b"\n") for file in run.glob("records/*.jsonl"))
