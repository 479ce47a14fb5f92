"""The checks of `benchmarks.gpu`'s first stage on a GPU, where a graph is really captured."""

import pytest
import torch

from benchmarks.gpu import tiny
from benchmarks.gpu.right import graphs_change_nothing, laws_hold, together_as_alone

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
CUDA = torch.device("cuda")
DTYPES = (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("architecture", "method"), [("llama", "ivg"), ("gpt2", "eft"), ("mistral", "implicit"), ("llama", "best_of_n")]
)
def test_laws_hold(architecture, method, dtype):
    laws_hold(method, architecture, dtype, CUDA)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "mistral"])
@pytest.mark.parametrize("method", tiny.METHODS)
def test_a_captured_step_replayed_at_every_shape_does_what_it_did(method, architecture, dtype):
    seen = graphs_change_nothing(method, architecture, dtype, CUDA)
    assert seen["shapes"] > 1


@pytest.mark.parametrize("method", ["eft", "ivg"])
def test_64_prompts_together_write_what_each_writes_alone(method):
    together_as_alone(method, "llama", CUDA, 64)
