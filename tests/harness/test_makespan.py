"""How long blocks take on several workers: by hand, and the bounds of list scheduling."""

import pytest

from harness.backends.makespan import makespan


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
