"""How long blocks take on several workers: by hand, and the bounds of list scheduling."""

from types import SimpleNamespace

import pytest

from harness.backends.makespan import makespan
from harness.config.schema import BackendSpec
from harness.sweep.estimate import _blocks, _time


@pytest.mark.parametrize(
    ("blocks", "workers", "seconds"),
    [([], 3, 0), ([2, 2, 2], 1, 6), ([2, 2, 2], 2, 4), ([3, 1, 1, 1], 2, 3), ([1, 1, 1, 3], 2, 4), ([5], 8, 5)],
)
def test_a_free_worker_takes_the_next_block(blocks, workers, seconds):
    assert makespan(blocks, workers) == seconds


def test_it_lies_between_the_share_of_each_worker_and_that_plus_the_longest_block():
    blocks = [(7 * i) % 11 + 1 for i in range(200)]
    for workers in (1, 2, 8, 64):
        share = sum(blocks) / workers
        assert share <= makespan(blocks, workers) <= share + max(blocks)


def test_a_dry_run_says_how_long_workers_take():
    """Six samples of ten seconds in blocks of two, then two: 60 + 20 s alone; on two workers 40, then 20 s."""
    sweep = SimpleNamespace(block=2, backend=BackendSpec(name="ray"))
    first, second = _blocks(6, 10.0, 2), _blocks(2, 10.0, 2)
    assert (first, second) == ([20.0] * 3, [20.0])
    assert _blocks(3, 10.0, 2) == [20.0, 10.0]
    said = _time(SimpleNamespace(sweep=sweep), first, second)
    assert said.startswith("about 1 min 20 s on 1 worker, 40 s on 8 workers, 40 s on 64 workers;")
    sweep.backend = BackendSpec(name="ray", workers=2)
    assert _time(SimpleNamespace(sweep=sweep), first, second).startswith("about 1 min 0 s on 2 workers;")
    sweep.backend = BackendSpec()
    assert _time(SimpleNamespace(sweep=sweep), first, second) == "about 1 min 20 s"
