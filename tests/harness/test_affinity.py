"""Which block a worker gets: one of models that it has."""

from harness.backends.affinity import Queue
from harness.backends.protocol import Block


def block(model: str, start: int) -> Block:
    return Block(f"trial-{model}", {"base": {"path": model}}, start, (), None)


def test_a_worker_keeps_to_the_models_that_it_has_loaded():
    """Two models, two workers, blocks in turns: each worker loads one model, and takes blocks of it alone."""
    queue = Queue([block("ab"[i % 2], i) for i in range(12)], window=8)
    taken = {1: [], 2: []}
    for _ in range(6):
        for worker, blocks in taken.items():
            blocks.append(queue.next_for(worker))
    assert {b.trial for b in taken[1]} == {"trial-a"}
    assert {b.trial for b in taken[2]} == {"trial-b"}
    assert queue.is_empty
    assert queue.next_for(1) is None


def test_nothing_waits_for_a_worker_that_is_busy():
    queue = Queue([block("a", i) for i in range(3)] + [block("b", 3)], window=4)
    assert queue.next_for(1).trial == "trial-a"
    assert queue.next_for(2).trial == "trial-b"
    assert [queue.next_for(2).start for _ in range(2)] == [1, 2]


def test_a_block_comes_back_first_and_a_dead_worker_has_nothing_loaded():
    queue = Queue([block("a", 0), block("b", 1)], window=1)
    first = queue.next_for(1)
    queue.forget(1)
    queue.put_back(first)
    assert queue.next_for(2) is first


def test_blocks_are_drawn_as_there_is_room():
    drawn = []

    def source():
        for i in range(100):
            drawn.append(i)
            yield block("a", i)

    queue = Queue(source(), window=4)
    queue.next_for(1)
    assert len(drawn) == 4
    queue.next_for(1)
    assert len(drawn) == 5
