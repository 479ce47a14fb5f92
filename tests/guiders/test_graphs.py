"""The steps between boundaries can be captured: nothing waits for the device, and replays run the same kernels on the
same addresses. Capturing itself needs a CUDA device; here a replay runs the steps again and is watched."""

import pytest
import torch
from tiny_models import lm, value
from torch.utils._python_dispatch import TorchDispatchMode

from guiders import BestOfN, ChunkBeam, Explicit, Guider, GuiderError, Implicit, ImplicitValue, Sampling, generate
from guiders.decoding.stepper import Graphs


class Watch(TorchDispatchMode):
    """Records every operation, and refuses those that would read a number back from the device."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        waits = any(word in name for word in ("local_scalar", "nonzero", "unique", "isin"))  # isin sorts many elements
        assert not waits, f"{name} waits for the device"
        self.operations.append(name)
        return func(*args, **(kwargs or {}))


class Watched(Graphs):
    """Captures by watching one step, which is then undone; replays by running it again."""

    captures = replays_run = 0

    def capture(self):
        Watched.captures += 1
        state = [*self.taken.tensors().values(), *(lane.column for lane in self.lanes)]
        state += [x for lane in self.lanes for x in lane.cache.states.tensors()]
        before, addresses = [x.clone() for x in state], [lane.addresses() for lane in self.lanes]
        with Watch() as captured:
            self.eager()
        for x, old in zip(state, before, strict=True):
            x.copy_(old)

        def replay():
            Watched.replays_run += 1
            assert [lane.addresses() for lane in self.lanes] == addresses
            with Watch() as replayed:
                self.eager()
            assert replayed.operations == captured.operations

        return replay


def guiders_():
    pair = (lm(seed=1), lm(seed=2))
    return {
        "eft": Guider(lm(), Implicit(*pair, 0.7)),
        "best of n": Guider(lm(), None, ImplicitValue(*pair), BestOfN(3)),
        "implicit": Guider(lm(), Implicit(*pair, 0.7), ImplicitValue(*pair), ChunkBeam(2, 3, 4)),
        "ivg": Guider(lm("llama"), Implicit(*pair, 0.7), Explicit(value()), ChunkBeam(2, 2, 5)),
    }


@pytest.mark.parametrize("name", guiders_())
def test_steps_can_be_captured_and_replayed(name, monkeypatch):
    monkeypatch.setattr("guiders.decoding.stepper.Graphs", Watched)
    monkeypatch.setattr(Watched, "captures", 0)
    monkeypatch.setattr(Watched, "replays_run", 0)
    prompts = ["abcab", "aaaaaaaaa", "hello", "hi", "u", "kl", "mmmm"]
    sampling = Sampling(temperature=0.9, max_new_tokens=40, seed=3)
    eager = {g.index: g for g in generate(guiders_()[name], prompts, sampling, batch_tokens=150)}
    graphs = {g.index: g for g in generate(guiders_()[name], prompts, sampling, batch_tokens=150, graphs=True)}
    assert Watched.replays_run > 5 * Watched.captures > 0, "a graph of one step serves many"
    for index, one in eager.items():
        assert graphs[index].tokens == one.tokens
        assert (graphs[index].value or 0.0) == pytest.approx(one.value or 0.0, abs=1e-9)
        assert graphs[index].kl == pytest.approx(one.kl, abs=1e-9)


@pytest.mark.skipif(torch.cuda.is_available(), reason="graphs work here")
def test_graphs_without_a_cuda_device_say_so():
    with pytest.raises(GuiderError, match="CUDA device"):
        list(generate(guiders_()["eft"], ["abc"], Sampling(max_new_tokens=40), graphs=True))
