"""Captured graphs share a pool of memory for as long as one of them lives.

torch ends with "use_count > 0 INTERNAL ASSERT FAILED" where a capture names a pool whose graphs are all gone (as in
vllm-project/vllm#28426). The stand-in for `torch.cuda` below keeps that rule, and captures nothing.
"""

import gc
import weakref
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from tiny_models import lm

from guiders import ChunkBeam, Guider, Implicit, ImplicitValue, Sampling, generate


class Pools:
    """Counts the graphs that hold each pool."""

    def __init__(self):
        self.holders: dict[int, weakref.WeakSet] = {}
        self.captures = 0

    def graph(self):
        pools = self

        class Graph:
            def __init__(self):
                self.held = None

            def hold(self, pool):
                gc.collect()
                if pool is not None:
                    assert pools.holders[pool], "use_count > 0 INTERNAL ASSERT FAILED"
                self.held = len(pools.holders) if pool is None else pool
                pools.holders.setdefault(self.held, weakref.WeakSet()).add(self)
                pools.captures += 1

            def pool(self):
                return self.held

            def replay(self):
                raise AssertionError("replaced below")

        return Graph()


@pytest.fixture
def pools(monkeypatch):
    kept = Pools()

    def capturing(graph, pool=None):
        graph.hold(pool)
        return nullcontext()

    fake = SimpleNamespace(is_available=lambda: True, CUDAGraph=kept.graph, graph=capturing)
    monkeypatch.setattr(torch, "cuda", fake)
    return kept


def test_a_pool_is_never_named_after_its_last_graph(pools, monkeypatch):
    """Slots that leave and a history that moves drop the graphs between captures."""
    from guiders.decoding.stepper import Graphs

    def capture(self, real=Graphs.capture):
        state = [*self.taken.tensors().values(), *(lane.column for lane in self.lanes)]
        before = [x.clone() for x in state]
        graph = real(self).__self__  # the step inside runs at once, where nothing is captured
        for x, old in zip(state, before, strict=True):
            x.copy_(old)
        return lambda kept=graph: self.eager()

    monkeypatch.setattr(Graphs, "capture", capture)
    pair = (lm(seed=1), lm(seed=2))
    guider = Guider(lm(), Implicit(*pair, 0.7), ImplicitValue(*pair), ChunkBeam(2, 2, 4))
    prompts, sampling = ["abcab", "aaaaaaaaa", "hello", "hi", "u"], Sampling(max_new_tokens=40, seed=3)
    eager = {g.index: g.tokens for g in generate(guider, prompts, sampling, batch_tokens=150)}
    assert {g.index: g.tokens for g in generate(guider, prompts, sampling, batch_tokens=150, graphs=True)} == eager
    assert pools.captures > len(pools.holders) > 1, "graphs share a pool, and there is a new one once all are gone"
