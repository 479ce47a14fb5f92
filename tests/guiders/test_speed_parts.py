"""What makes the decoder fast on a CPU changes no number: each part against torch's own, and against the definition."""

import copy

import pytest
import torch
from tiny_models import lm, value
from torch.nn.functional import gelu
from transformers.pytorch_utils import Conv1D

from guiders import LM, ChunkBeam, Explicit, Guider, Implicit, Sampling, generate
from guiders.cpu.gelu import TanhGELU
from guiders.cpu.head import HeadBuffer
from guiders.cpu.packed import AFTER, PackedWeights
from guiders.cpu.switch import TRICKS, enabled, without
from guiders.decoding.next_token import next_token
from guiders.errors import GuiderError
from guiders.kv.log_probs import log_probs
from guiders.sampling import distribution, divergence, draw, reference

torch.set_num_threads(1)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(0.3), Sampling(0), Sampling(2.0, top_k=7), Sampling(top_p=0.6)]
)
@pytest.mark.parametrize("block", [1, 600, 1 << 20])
def test_a_next_token_is_drawn_as_defined(sampling, block, monkeypatch):
    """However many rows are worked on together: the token, its divergence and its log-ratio are the formulas' own."""
    monkeypatch.setattr("guiders.kv.log_probs.BLOCK", block)
    guider = of_vocabulary(300, Guider(lm(), token=Implicit(lm(seed=1), lm(seed=2), 0.7)))
    logits = [3 * random(4, 3, 300, seed=seed) for seed in range(3)]
    numbers = torch.rand(4, 3, 2, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    found = next_token(guider, sampling, logits, numbers, kl=True, pair=(1, 2), changed=True)
    guided = logits[0] + 0.7 * (logits[1].log_softmax(-1) - logits[2].log_softmax(-1))
    probabilities = distribution(guided, sampling)
    tokens = draw(probabilities, numbers)
    assert torch.equal(found.tokens, tokens)
    log_base = reference(logits[0], sampling)
    torch.testing.assert_close(found.kl, divergence(probabilities, log_base))
    torch.testing.assert_close(found.over_base, (probabilities.log() - log_base).gather(-1, tokens))
    ratio = (logits[1].log_softmax(-1) - logits[2].log_softmax(-1)).gather(-1, tokens)
    torch.testing.assert_close(found.ratio, ratio)
    assert torch.equal(found.changed, guided.argmax(-1) != logits[0].argmax(-1))
    assert bool(found.finite.all())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_row_without_numbers_is_seen_and_its_neighbours_are_not(bad):
    logits = random(3, 40)
    logits[1, 5] = bad
    for sampling in (Sampling(), Sampling(top_p=0.5), Sampling(0)):
        numbers = torch.full((3, 1), 0.5, dtype=torch.float64)
        found = next_token(of_vocabulary(40, Guider(lm())), sampling, [logits], numbers)
        assert found.finite.tolist() == [True, False, True]
        assert 0 <= int(found.tokens.min()) <= int(found.tokens.max()) < 40


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])
def test_the_divergence_of_half_precision_is_the_exact_one_of_its_logits(temperature):
    """And a masked id, of minus infinity in both, adds nothing."""
    guider = of_vocabulary(3000, Guider(lm(), token=Implicit(lm(seed=1), lm(seed=2), 0.1)))
    logits = [10 + random(6, 3000, seed=seed, dtype=torch.bfloat16) for seed in range(3)]
    logits[0][:, 7] = -torch.inf
    numbers = torch.full((6, 1), 0.5, dtype=torch.float64)
    found = next_token(guider, Sampling(temperature), logits, numbers, kl=True)
    base, tuned, untuned = (x.double() for x in logits)
    ours = ((base + 0.1 * (tuned - untuned)) / temperature).log_softmax(-1)
    terms = ours.exp() * (ours - (base / temperature).log_softmax(-1))
    exact = terms.nan_to_num(0.0).sum(-1)
    torch.testing.assert_close(found.kl.double(), exact, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("sampling", [Sampling(t) for t in (1e-8, 1e-4, 0.01, 1.0)] + [Sampling(1e-4, top_k=3)])
@pytest.mark.parametrize("weight", [0.0, 1e-3, 1.0])
def test_the_divergence_at_low_temperatures_is_that_of_the_logits(sampling, weight):
    """In float32, where logits over a temperature of 1e-8 have no digit left before the point."""
    guider = of_vocabulary(500, Guider(lm(), token=Implicit(lm(seed=1), lm(seed=2), weight)))
    logits = [20 + 5 * random(8, 500, seed=seed, dtype=torch.float32) for seed in range(3)]
    numbers = torch.full((8, 1), 0.5, dtype=torch.float64)
    guided, base = guider.combine(logits).double(), logits[0].double()
    found = next_token(guider, sampling, logits, numbers, kl=True)
    drawn, plain = distribution(guided, sampling), (base / sampling.temperature).log_softmax(-1)
    terms = torch.special.xlogy(drawn, drawn) - torch.where(drawn > 0, drawn * plain, 0.0)
    torch.testing.assert_close(found.kl.double(), terms.sum(-1), rtol=1e-5, atol=1e-5)
    assert float(found.kl.min()) >= 0
    ratio = (drawn.log() - plain).gather(-1, found.tokens)
    torch.testing.assert_close(found.over_base, ratio, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.7), Sampling(top_k=5), Sampling(top_p=0.9), Sampling(0)])
@pytest.mark.parametrize("lowest", [-torch.inf, torch.finfo(torch.float64).min])
@pytest.mark.parametrize("weight", [1.0, -0.5, 0.0])
def test_an_id_that_all_models_mask_is_not_there(sampling, lowest, weight):
    """As if the vocabulary ended before it, although "minus infinity less minus infinity" is no number."""
    guider = Guider(lm(), token=Implicit(lm(seed=1), lm(seed=2), weight))
    logits = [random(6, 40, seed=seed) for seed in range(3)]
    numbers = torch.full((6, 1), 0.5, dtype=torch.float64)
    expected = next_token(of_vocabulary(40, guider), sampling, logits, numbers, kl=True)
    masked = [torch.cat([x, torch.full_like(x[:, :2], lowest)], -1) for x in logits]
    found = next_token(of_vocabulary(42, guider), sampling, masked, numbers, kl=True)
    assert bool(found.finite.all())
    assert torch.equal(found.tokens, expected.tokens)
    torch.testing.assert_close(found.kl, expected.kl)
    torch.testing.assert_close(found.over_base, expected.over_base)


def test_a_guide_without_numbers_is_still_seen():
    logits = [random(3, 40, seed=seed) for seed in range(3)]
    logits[1][1, 5] = torch.nan
    numbers = torch.full((3, 1), 0.5, dtype=torch.float64)
    guider = of_vocabulary(40, Guider(lm(), token=Implicit(lm(seed=1), lm(seed=2))))
    assert next_token(guider, Sampling(), logits, numbers, kl=True).finite.tolist() == [True, False, True]


def of_vocabulary(size: int, guider: Guider) -> Guider:
    """The guider of models that have so many ids: only its arithmetic is used here."""
    vars(guider)["vocabulary"] = size
    return guider


def test_log_probabilities_of_half_precision_are_not_halved():
    """Two models that differ by a thousandth: bfloat16's own normaliser, rounded to three digits, would lose that."""
    logits = random(5, 2000, dtype=torch.bfloat16)
    tokens = torch.arange(5)[:, None]
    found = log_probs(logits, tokens)
    assert found.dtype == torch.float32
    exact = logits.double().log_softmax(-1).gather(-1, tokens)
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_activation_is_torchs(dtype):
    inputs = 5 * random(3, 41, 8, dtype=dtype)
    with torch.inference_mode():
        torch.testing.assert_close(TanhGELU()(inputs), gelu(inputs, approximate="tanh"))
    inputs.requires_grad_()
    assert TanhGELU()(inputs).requires_grad  # what trains keeps its gradients


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="torch was built without MKL: nothing is packed")
def test_packed_weights_multiply_as_the_weights_do():
    torch.manual_seed(0)
    layers = [torch.nn.Linear(40, 70), torch.nn.Linear(40, 70, bias=False), Conv1D(70, 40)]
    torch.nn.init.normal_(layers[2].weight)
    model, inputs = torch.nn.ModuleList(layers), random(6, 2, 40, dtype=torch.float32)
    packed = PackedWeights(model)
    with torch.inference_mode():
        expected = [layer(inputs) for layer in layers]
        for _ in range(-(-AFTER // 12)):
            with packed.used(12):
                changed = ["forward" in vars(layer) for layer in layers]
                found = [layer(inputs) for layer in layers]
                fewer = [layer(inputs[:, :1]) for layer in layers]
        assert all(changed), "nothing was packed"
        for one, other, some in zip(found, expected, fewer, strict=True):
            torch.testing.assert_close(one, other)
            torch.testing.assert_close(some, other[:, :1])
        with packed.used(6):
            assert not any("forward" in vars(layer) for layer in layers)
    assert not any("forward" in vars(layer) for layer in layers)


def test_only_plain_layers_in_float32_are_packed():
    assert PackedWeights(torch.nn.Linear(4, 4).double()).layers == []
    assert PackedWeights(torch.nn.Linear(4, 4, device="meta")).layers == []


@pytest.mark.parametrize("bias", [True, False])
def test_a_head_writes_to_one_place_and_is_itself_again(bias):
    torch.manual_seed(0)
    model = torch.nn.Module()
    model.get_output_embeddings = lambda: head
    head = torch.nn.Linear(6, 50, bias=bias)
    buffer, one, other = HeadBuffer(model), torch.randn(2, 3, 6), torch.randn(1, 2, 6)
    with torch.inference_mode():
        with buffer.used():
            first = head(one)
            kept, place = first.clone(), first.data_ptr()
            second = head(other)
            assert second.data_ptr() == place
        torch.testing.assert_close(kept, head(one))
        torch.testing.assert_close(second, head(other))
        assert head(one).data_ptr() != place


def test_a_layer_with_a_forward_of_its_own_is_left_alone():
    """accelerate moves weights of offloaded layers in such functions."""
    layer = torch.nn.Linear(4, 4)
    layer.forward = lambda inputs: inputs
    model = torch.nn.Module()
    model.add_module("layer", layer)
    model.get_output_embeddings = lambda: layer
    assert PackedWeights(model).layers == []
    with HeadBuffer(model).used():
        assert layer(torch.ones(2)) is not None
    assert "forward" in vars(layer)


def test_long_answers_are_the_same_with_packed_weights(monkeypatch):
    """Weights are packed at the tenth step; greedy, so that no draw hangs on rounding."""
    monkeypatch.setattr("guiders.cpu.packed.AFTER", 80)
    base, tuned, untuned = in_float32(lm("gpt2", 0, 1.0)), in_float32(lm(seed=1)), in_float32(lm(seed=2))
    guider = Guider(base, Implicit(tuned, untuned), Explicit(in_float32(value())), ChunkBeam(2, 2, 5))
    sampling = Sampling(temperature=0, max_new_tokens=40)
    found = [g.tokens for g in generate(guider, ["ab", "hello"], sampling)]
    monkeypatch.setattr("guiders.cpu.packed.AFTER", 1 << 30)
    assert sorted(found) == sorted(g.tokens for g in generate(guider, ["ab", "hello"], sampling))


def in_float32(made: LM) -> LM:
    """A copy that can be packed."""
    return LM(copy.deepcopy(made.model).float(), made.tokenizer, name=made.name)


def test_the_switch_leaves_a_trick_out_in_this_thread_and_no_longer():
    model = copy.deepcopy(lm().model).float()
    with without("head", "packed"):
        assert HeadBuffer(model).head is None
        assert not PackedWeights(model).layers
        assert enabled("gelu")
    assert HeadBuffer(model).head is not None
    assert PackedWeights(model).layers
    with pytest.raises(GuiderError, match="gellu: no such trick"), without("gellu"):
        pass


def test_without_any_trick_the_texts_are_the_same():
    def texts(*left):
        with without(*left):
            guider = Guider(lm(), token=Implicit(lm(seed=1), lm(seed=2), 0.7))
            return [g.tokens for g in generate(guider, [[1, 2, 3], [4, 5]], Sampling(max_new_tokens=12))]

    assert texts(*TRICKS) == texts()
