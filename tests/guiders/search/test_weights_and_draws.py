"""Answers of a search that weighs them; and searches that need draws which differ."""

import math
from dataclasses import dataclass

import pytest
import torch
from tiny_models import lm

from guiders import Guider, GuiderError, ImplicitValue, Sample, Sampling, generate
from guiders.laws.oracle import naive_generate
from guiders.search import Search, Selection, Tokens

torch.set_num_threads(1)
PAIR = (lm("llama", 1), lm("gpt2", 2))


@dataclass(frozen=True)
class Importance(Search):
    """Importance sampling: two draws, of which the second one is the answer, with the value as its log-weight."""

    needs_draws = True
    survivors = 2

    @property
    def ends(self):
        return Tokens(3)

    def select(self, boundary):
        rows = torch.arange(2).expand(len(boundary.limits), 2)
        return Selection(rows, log_weights=boundary.values)

    def choose(self, boundary):
        return torch.ones_like(boundary.limits)

    def log_weight(self, boundary, chosen):
        return boundary.log_weights.gather(1, chosen[:, None])[:, 0]


def test_an_answer_has_the_weight_of_the_hypothesis_that_it_is():
    guider = Guider(lm(), value=ImplicitValue(*PAIR), search=Importance())
    prompts, sampling = ["ab", "hello there", "q"], Sampling(max_new_tokens=8)
    given = list(generate(guider, prompts, sampling))
    assert len({one.log_weight for one in given}) == 3
    for one in given:
        (value,) = guider.value.rescore(guider, prompts[one.index], [list(one.tokens)], [one.finish_reason == "eos"])
        assert one.log_weight == pytest.approx(value, abs=1e-9)
    weights = {one.index: one.log_weight for one in given}
    for one in naive_generate(guider, prompts, sampling):
        assert one.log_weight == pytest.approx(weights[one.index], abs=1e-9)


def test_answers_of_other_searches_have_no_weight():
    (one,) = generate(Guider(lm(), search=Sample()), ["ab"], Sampling(max_new_tokens=3))
    assert one.log_weight is None


def test_a_search_that_needs_draws_is_refused_at_temperature_0():
    guider = Guider(lm(), value=ImplicitValue(*PAIR), search=Importance())
    with pytest.raises(GuiderError, match=r"^Importance needs draws that differ.*set it above 0$"):
        list(generate(guider, ["ab"], Sampling(temperature=0, max_new_tokens=8)))
    assert math.isfinite(next(iter(generate(guider, ["ab"], Sampling(max_new_tokens=8)))).log_weight)
