"""A guider's parts as contracts: what is not ours runs in the decoder, the oracle and the laws as ours does."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from test_oracle import assert_same
from tiny_models import END, ending, lm, value

from guiders import (
    LM,
    BestOfN,
    ChunkBeam,
    Explicit,
    Guider,
    GuiderError,
    Implicit,
    ImplicitValue,
    QGuidance,
    Sampling,
    laws,
)
from guiders.laws.oracle import naive_generate
from guiders.token import TokenGuide
from guiders.value import Value

torch.set_num_threads(1)
PROMPTS, SAMPLING = ["ab", "hello there", "q"], Sampling(max_new_tokens=10, seed=3, temperature=0.8)
BASE, PAIR = ending("gpt2", 0, {3}), (lm("llama", 3), lm("gpt2", 4))


@dataclass(frozen=True)
class Contrastive(TokenGuide):
    amateur: LM
    weight: float = 0.5

    @property
    def models(self):
        return (self.amateur,)

    def off(self):
        return replace(self, weight=0.0)

    def shift(self, amateur):
        return -self.weight * amateur.log_softmax(-1)


@dataclass(frozen=True)
class Vowels(Value):
    """The share of a response's letters that are vowels: it reads no model."""

    def rescore(self, guider, prompt, responses, ended, stop=()):
        return [sum(t in (0, 4, 8, 14, 20) for t in tokens) / max(1, len(tokens)) for tokens in responses]

    def scorer(self, guider, slots, columns):
        return _Vowels(guider)


class _Vowels:
    wants_ratio, evaluated = None, 0

    def __init__(self, guider):
        self.guider = guider

    def score(self, chunk):
        rows = [Vowels().rescore(self.guider, None, slot, []) for slot in chunk.responses()]
        return torch.tensor(rows, dtype=torch.float64).view(chunk.counts.shape)

    def admit(self, *arguments): ...

    commit = keep = shrink = admit

    def passes(self, counts, survivors):
        return torch.zeros_like(survivors)


GUIDERS = {
    "contrastive": Guider(BASE, Contrastive(PAIR[0])),
    "q": Guider(BASE, QGuidance(value(kind="vocab"), 1.3)),
    "own value": Guider(BASE, [Contrastive(PAIR[0]), Implicit(*PAIR, 0.5)], Vowels(), ChunkBeam(2, 2, 3)),
    "q and a scalar": Guider(BASE, QGuidance(value(kind="vocab")), Explicit(value()), BestOfN(3)),
}


@pytest.mark.parametrize("name", GUIDERS)
def test_the_oracle_and_the_laws_know_no_part_by_name(name):
    guider = GUIDERS[name]
    assert_same(laws.decode(guider, PROMPTS, SAMPLING), naive_generate(guider, PROMPTS, SAMPLING, cached=False))
    laws.check(guider, PROMPTS, SAMPLING)


def test_implicit_guidance_is_the_difference_of_log_probabilities():
    """The formula of the paper, with the normalisers that the guide leaves out."""
    tuned, untuned = (torch.randn(4, 9, dtype=torch.float64) for _ in range(2))
    base = torch.randn(4, 9, dtype=torch.float64)
    shift = Implicit(*PAIR, 0.7).shift(tuned, untuned)
    formula = base.log_softmax(-1) + 0.7 * (tuned.log_softmax(-1) - untuned.log_softmax(-1))
    torch.testing.assert_close((base + shift).log_softmax(-1), formula.log_softmax(-1))


def test_what_a_value_says_of_whole_texts_is_its_formula():
    """Against sums over one forward pass a token, written out."""
    tokens, ids = [4, 1, 9, END], PAIR[0].encode_prompt("ab")
    (found,) = ImplicitValue(*PAIR).rescore(Guider(BASE), "ab", [tokens], [True])
    expected = 0.0
    for i, token in enumerate(tokens):
        for sign, model in zip((1, -1), PAIR, strict=True):
            text = torch.tensor([[*ids, *tokens[:i]]])
            expected += sign * float(model.model(text).logits[0, -1].detach().log_softmax(-1)[token])
    assert math.isclose(found, expected, abs_tol=1e-9)
    scalar, vocab = value(), value(kind="vocab")
    whole = torch.tensor([[*ids, *tokens]])
    assert Explicit(scalar).rescore(Guider(BASE), "ab", [tokens], [True]) == pytest.approx(
        [scalar.model(whole).logits[0, -1, 0].item()]
    )
    assert Explicit(vocab).rescore(Guider(BASE), "ab", [tokens], [True]) == pytest.approx(
        [float(vocab.model(whole).logits[0, -2, END])]
    )


def test_each_part_says_which_models_it_takes():
    for parts in ({"token": Implicit(value(), lm())}, {"value": ImplicitValue(lm(), value()), "search": BestOfN(2)}):
        with pytest.raises(GuiderError, match="its place here is a language model's"):
            laws.decode(Guider(lm(), **parts), ["a"], SAMPLING)
    with pytest.raises(GuiderError, match="has no value head"):
        laws.decode(Guider(lm(), None, Explicit(lm()), BestOfN(2)), ["a"], SAMPLING)
