"""What a device would be asked to do, on torch's "meta", whose tensors have shapes and types and hold no numbers.

The decoder takes the way there that it takes on a GPU. A graph can be captured where no operation reads a number back
or takes a tensor from the host.
"""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from tiny_models import configs, words
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModel, AutoModelForCausalLM, MistralConfig

from guiders import LM, BestOfN, ChunkBeam, Explicit, Guider, Implicit, ImplicitValue, QGuidance, Sampling
from guiders.decoding.stepper import Stepper
from guiders.kv.lane import Lane
from guiders.models.value_model import ValueModel
from guiders.value import Chunk

SLOTS, COLUMNS = 3, 5
DEVICE = torch.device("meta")


class OnDevice(TorchDispatchMode):
    """Counts operations, and refuses what a capture would."""

    def __init__(self):
        super().__init__()
        self.operations = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        assert "local_scalar" not in name, f"{name} waits for the device"
        assert "nonzero" not in name, f"{name} waits for the device"
        assert "isin" not in name, f"{name} sorts where there are many elements, and waits to know how many"
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, torch.Tensor):
                assert leaf.device.type == "meta", f"{name} takes a tensor of {tuple(leaf.shape)} from the host"
        self.operations[name] += 1
        return func(*args, **(kwargs or {}))


def model(config, dtype, head: str = "lm") -> LM:
    with DEVICE:
        if head == "lm":
            made = AutoModelForCausalLM.from_config(config, dtype=dtype)
        else:
            width = 1 if head == "scalar" else config.vocab_size
            linear = torch.nn.Linear(config.hidden_size, width, bias=False, dtype=dtype)
            made = ValueModel(AutoModel.from_config(config, dtype=dtype), linear)
    return LM(made.eval(), words(), name=head)


def guiders(architecture: str, dtype) -> dict:
    def make(head="lm"):
        return model(configs()[architecture], dtype, head)

    pair = (make(), make())
    search = ChunkBeam(2, 3, COLUMNS)
    return {
        "eft": Guider(make(), Implicit(*pair)),
        "best_of_n": Guider(make(), None, Explicit(make("scalar")), BestOfN(4)),
        "ivg": Guider(make(), Implicit(*pair), Explicit(make("scalar")), search),
        "q": Guider(make(), QGuidance(make("vocab")), Explicit(make("vocab")), search),
        "implicit": Guider(make(), None, ImplicitValue(*pair), search),
        "same_pair": Guider(make(), Implicit(*pair), ImplicitValue(*pair), search),
    }


def prepared(guider: Guider, sampling: Sampling, columns: int = COLUMNS):
    """A decoder's parts after the prompts, with fixed addresses, and what its steps take."""
    search = guider.search
    shape = (SLOTS, search.survivors, search.successors)
    scorer = guider.value.scorer(guider, SLOTS, columns) if guider.chooses else None
    lanes = [Lane(lm, *shape, columns, fixed=True) for lm in guider.models]
    prompts = [[1, 2, 3], [4] * 9, [5, 6]]
    for part in lanes:
        part.prefill(range(SLOTS), prompts)
    if scorer:
        scorer.admit(list(range(SLOTS)), prompts)
    stepper = Stepper(guider, sampling, lanes, scorer and scorer.wants_ratio, False, graphs=False)
    given = SimpleNamespace(
        active=torch.ones(SLOTS, dtype=torch.bool, device=DEVICE),
        ended=torch.zeros(shape[:2], dtype=torch.bool, device=DEVICE),
        remaining=torch.full(shape[:2], 9, device=DEVICE),
        numbers=torch.rand(*shape, columns, dtype=torch.float64, device=DEVICE),
    )
    return lanes, scorer, stepper, vars(given).values()


def stepped(stepper: Stepper, given):
    """A whole chunk, step by step as graphs are: the column is a number on the device."""
    taken = stepper.begin(*given)
    stepper.step(taken, 0)
    for _ in range(1, COLUMNS):
        stepper.step(taken, taken.column)
        taken.column += 1
    for lane in stepper.lanes:
        lane.offset = COLUMNS - 1
    return taken


def test_the_watch_sees_a_wait_and_a_copy():
    with OnDevice(), pytest.raises(AssertionError, match="waits"):
        bool(torch.ones(2, device=DEVICE).any())
    with OnDevice(), pytest.raises(AssertionError, match="from the host"):
        torch.ones(2, device=DEVICE) + torch.ones(2)


CASES = [("gpt2", m) for m in ("eft", "best_of_n", "ivg", "q", "implicit", "same_pair")]
CASES += [(a, "ivg") for a in ("llama", "mistral", "qwen3", "gpt_neox", "gemma", "gemma2")]


@torch.inference_mode()
@pytest.mark.parametrize(("architecture", "method"), CASES)
def test_steps_neither_wait_nor_copy(architecture, method):
    guider = guiders(architecture, torch.bfloat16)[method]
    _, _, stepper, given = prepared(guider, Sampling(temperature=0.7))
    with OnDevice():
        taken = stepped(stepper, given)
    assert taken.tokens.shape == (SLOTS, guider.search.survivors, guider.search.successors, COLUMNS)
    assert taken.tokens.device == DEVICE


@torch.inference_mode()
@pytest.mark.parametrize("sampling", [Sampling(0), Sampling(top_k=5), Sampling(top_p=0.9), Sampling(1.3, 4, 0.5)])
def test_no_way_of_sampling_waits(sampling):
    _, _, stepper, given = prepared(guiders("gpt2", torch.bfloat16)["ivg"], sampling)
    with OnDevice():
        taken = stepped(stepper, given)
    assert taken.tokens.device == taken.kl.device == DEVICE


@torch.inference_mode()
@pytest.mark.parametrize("method", ["ivg", "q", "implicit"])
def test_what_happens_at_a_boundary_does_not_wait_either(method):
    """Values read the chunk, survivors are moved, their last tokens are read: all without a look at a number."""
    guider = guiders("llama", torch.bfloat16)[method]
    lanes, scorer, stepper, given = prepared(guider, Sampling())
    taken = stepped(stepper, given)
    shape = taken.counts.shape
    chunk = Chunk(taken.tokens, taken.counts, taken.ended, torch.zeros(shape[:2], device=DEVICE), None, list, str)
    rows = torch.zeros(shape[:2], dtype=torch.long, device=DEVICE)
    with OnDevice():
        assert scorer.score(chunk).shape == shape
        for lane in lanes:
            lane.commit(rows, rows, rows + COLUMNS - 1, False)
            lane.advance(rows)
        scorer.commit(rows, rows, rows + COLUMNS, rows, False)


@torch.inference_mode()
def test_a_step_of_a_7b_model_has_its_products_and_no_more():
    """Mistral-7B's shape, W=K=2, L=30, 32 prompts of 60 tokens: a layer has seven weights, and scores and mixtures for
    each of two segments; caches hold a prompt once, in a block of 64, and a chunk once per row."""
    config = MistralConfig(vocab_size=32000)
    lane = Lane(model(config, torch.bfloat16), 32, 2, 2, 30, fixed=True)
    lane.prefill(range(32), [[1] * 60] * 32)
    with OnDevice() as seen:
        logits = lane.step(torch.zeros(32, 2, 2, dtype=torch.long, device=DEVICE))
    assert logits.shape == (32, 2, 2, 32000)
    assert seen.operations["aten.linear.default"] == 32 * 7 + 1
    assert seen.operations["aten.matmul.default"] == 32 * 2 * 2
    token = 2 * 32 * 8 * 128 * 2  # keys and values, layers, heads, width, bytes
    held = {"prompt": 32 * 64 * token, "history": 0, "chunk": 32 * 4 * 30 * token}
    assert lane.cache.bytes() == held
