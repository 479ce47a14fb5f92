"""The steps between boundaries can be captured: nothing waits for the device, and replays run the same kernels on the
same addresses. Capturing itself needs a CUDA device; here a replay runs the steps again and is watched."""

import pytest
import torch
from tiny_models import lm, value
from torch.utils._python_dispatch import TorchDispatchMode

from guiders import BestOfN, ChunkBeam, Explicit, Guider, GuiderError, Implicit, ImplicitValue, Sampling, generate
from guiders.steps import Graphs


class Watch(TorchDispatchMode):
    """Records every operation, and refuses those that would read a number back from the device."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        waits = "local_scalar" in name or "nonzero" in name
        assert not waits, f"{name} waits for the device"
        self.operations.append(name)
        return func(*args, **(kwargs or {}))


class Watched(Graphs):
    """Captures by remembering what ran, replays by running it again."""

    replays = 0

    def capture(self):
        addresses = [lane.addresses() for lane in self.lanes]
        with Watch() as captured:
            taken = self.steps(*self.inputs)

        def replay():
            Watched.replays += 1
            assert [lane.addresses() for lane in self.lanes] == addresses
            for lane in self.lanes:
                lane.offset = 0
            with Watch() as replayed:
                again = self.steps(*self.inputs)
            assert replayed.operations == captured.operations
            for name, held in vars(taken).items():
                if held is not None:
                    held.copy_(getattr(again, name))

        for lane in self.lanes:
            lane.offset = 0
        return replay, taken


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
    monkeypatch.setattr("guiders.steps.Graphs", Watched)
    monkeypatch.setattr(Watched, "replays", 0)
    prompts = ["abcab", "aaaaaaaaa", "hello", "hi", "u", "kl", "mmmm"]
    sampling = Sampling(temperature=0.9, max_new_tokens=40, seed=3)
    eager = {g.index: g for g in generate(guiders_()[name], prompts, sampling, batch_tokens=150)}
    graphs = {g.index: g for g in generate(guiders_()[name], prompts, sampling, batch_tokens=150, graphs=True)}
    assert Watched.replays > 0
    for index, one in eager.items():
        assert graphs[index].tokens == one.tokens
        assert (graphs[index].value or 0.0) == pytest.approx(one.value or 0.0, abs=1e-9)
        assert graphs[index].kl == pytest.approx(one.kl, abs=1e-9)


@pytest.mark.skipif(torch.cuda.is_available(), reason="graphs work here")
def test_graphs_without_a_cuda_device_say_so():
    with pytest.raises(GuiderError, match="CUDA device"):
        list(generate(guiders_()["eft"], ["abc"], Sampling(max_new_tokens=40), graphs=True))
