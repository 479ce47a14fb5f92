"""Cuts that transformers has too, id for id, and draws by Gumbel numbers."""

from collections import Counter

import pytest
import torch
from tiny_models import lm
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

from guiders import Guider, GuiderError, Implicit, Sampling, generate
from guiders.laws import follows
from guiders.sampling import distribution, draw, uniforms

torch.set_num_threads(1)
HF = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=30))
CUTS = [
    {"min_p": 0.1},
    {"min_p": 1.0},
    {"typical_p": 0.3},
    {"typical_p": 0.95},
    {"top_k": 12, "top_p": 0.8, "min_p": 0.15, "typical_p": 0.6},
    {"top_p": 0.5, "typical_p": 0.2},
]


def warped(logits: torch.Tensor, temperature: float, cuts: dict) -> torch.Tensor:
    """What ``transformers.generate`` draws from: its own list of warpers, in its own order."""
    settings = GenerationConfig(do_sample=True, temperature=temperature, **{"top_k": 0, **cuts})
    processors = HF._get_logits_processor(settings, input_ids_seq_length=1, device="cpu")
    return processors(torch.zeros(len(logits), 1, dtype=torch.long), logits).softmax(-1)


@pytest.mark.parametrize("cuts", CUTS, ids=str)
@pytest.mark.parametrize("temperature", [0.6, 1.4])
def test_cuts_are_those_of_transformers_in_its_order(cuts, temperature):
    logits = 2 * torch.randn(300, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = distribution(logits, Sampling(temperature=temperature, **cuts))
    expected = warped(logits, temperature, cuts)
    assert torch.equal(found > 0, expected > 0)
    torch.testing.assert_close(found, expected)
    assert 0 < float((found > 0).double().mean()) < 1


def test_the_order_of_the_cuts_matters():
    """So that a wrong order does not pass for the right one above."""
    logits = 2 * torch.randn(300, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cuts = {"top_p": 0.5, "typical_p": 0.2}
    reversed_ = warped(warped(logits, 1.0, {"typical_p": 0.2}).log(), 1.0, {"top_p": 0.5})
    assert not torch.equal(reversed_ > 0, warped(logits, 1.0, cuts) > 0)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"min_p": 1.5}, "min_p=1.5 is out of range; it must be 0 to 1"),
        ({"typical_p": 0.0}, "typical_p=0.0 is out of range"),
        ({"coupling": "gumble"}, "coupling=gumble is out of range; it must be inverse or gumbel"),
    ],
)
def test_out_of_range(setting, said):
    with pytest.raises(GuiderError, match=said):
        Sampling(**setting)


def numbers(n: int) -> torch.Tensor:
    return uniforms(5, torch.tensor(9), torch.arange(n), torch.tensor(0))


@pytest.mark.parametrize("size", [7, 8])
def test_gumbel_draws_follow_the_distribution(size):
    weights = torch.rand(size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights[2] = 0.0
    found = Counter(draw(3 * weights, numbers(40_000), "gumbel").tolist())
    exact = (weights / weights.sum()).tolist()
    follows(found, dict(enumerate(exact)))
    # argmax(p + G) instead of argmax(log p + G) is another distribution, and the same check refuses it
    with pytest.raises(AssertionError, match="chi-square"):
        follows(Counter(draw(weights.exp(), numbers(40_000), "gumbel").tolist()), dict(enumerate(exact)) | {2: 0.1})


def test_gumbel_numbers_are_those_of_the_formula():
    """argmax(log p + G) with G read back one id at a time: against two ids of equal odds, G decides."""
    p = torch.rand(6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    few = numbers(200)
    # G_i − G_0 is where log-odds between i and 0 turn: found by bisection with distributions of two ids
    difference = torch.zeros(200, 6, dtype=torch.float64)
    for i in range(1, 6):
        low, high = torch.full((200,), -60.0).double(), torch.full((200,), 60.0).double()
        for _ in range(60):
            middle = (low + high) / 2
            pair = torch.zeros(200, 6, dtype=torch.float64)
            pair[:, 0], pair[:, i] = middle.exp(), 1.0
            won = draw(pair, few[:, None], "gumbel")[:, 0] == i
            low, high = torch.where(won, middle, low), torch.where(won, high, middle)
        difference[:, i] = low
    assert torch.equal(draw(p, few, "gumbel"), (p.log() + difference).argmax(-1))


def test_a_token_whose_odds_rise_against_all_others_stays():
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2000, 20, generator=generator, dtype=torch.float64)
    each = numbers(2000)[:, None]
    first = draw(logits.softmax(-1), each, "gumbel")
    change = torch.randn(2000, 20, generator=generator, dtype=torch.float64)
    change.scatter_(-1, first, change.amax(-1, keepdim=True))  # nobody's logit rises by more
    assert torch.equal(draw((logits + change).softmax(-1), each, "gumbel"), first)
    assert not torch.equal(draw((logits + change).softmax(-1), each), draw(logits.softmax(-1), each))


def decoded(guider, coupling: str, count: int = 40) -> list[tuple[int, ...]]:
    prompts = [[3, 1, i % 20, i // 20] for i in range(count)]
    sampling = Sampling(max_new_tokens=12, seed=2, coupling=coupling)
    return [one.tokens for one in sorted(generate(guider, prompts, sampling), key=lambda one: one.index)]


def test_equal_distributions_give_equal_texts_and_like_ones_like_texts():
    base = lm("llama", 0)
    same = Implicit(lm("gpt2", 4), lm("gpt2", 4), 1.0)
    assert decoded(Guider(base, same), "gumbel") == decoded(Guider(base), "gumbel")
    little = Guider(base, Implicit(lm("llama", 3), lm("gpt2", 4), 0.1))
    kept = {
        coupling: sum(a == b for a, b in zip(decoded(little, coupling), decoded(Guider(base), coupling), strict=True))
        for coupling in ("gumbel", "inverse")
    }
    assert kept["gumbel"] > kept["inverse"]


@pytest.mark.parametrize("cuts", [{"min_p": 0.3}, {"typical_p": 0.5}])
def test_what_is_cut_off_counts_as_divergence(cuts):
    """KL(cut ‖ base) is minus the log of the mass that is kept, summed over the steps."""
    base = lm("llama", 0)
    (one,) = generate(Guider(base), [[3, 1]], Sampling(max_new_tokens=8, **cuts))
    logits = base.model(torch.tensor([[3, 1, *one.tokens]])).logits[0, 1:-1].detach()
    kept = warped(logits, 1.0, cuts) > 0
    assert one.kl == pytest.approx(float(-(logits.softmax(-1) * kept).sum(-1).log().sum()), abs=1e-9)
    assert one.kl > 0.1
