"""Rejection sampling in turn: the law of rejection sampling, at the cost of the draws that it takes."""

import math

import pytest
import torch
from test_one_of_n import MOST, first_accepted, of_draws
from tiny_models import lm, value
from two_letters import RESPONSES, VALUES, distance, draws, tilted

from guiders import Explicit, Guider, GuiderError, Implicit, Length, Rejection, RejectionInTurn, Sampling, laws

torch.set_num_threads(1)


@pytest.mark.parametrize(("n", "most"), [(2, MOST), (3, MOST), (4, 0.0)])
def test_the_law_is_that_of_the_first_accepted_of_n_draws_by_enumeration(n, most):
    exact = of_draws(n, first_accepted(0.7, most))
    laws.follows(draws(RejectionInTurn(n, 0.7, most)), exact)
    with pytest.raises(AssertionError):
        laws.follows(draws(RejectionInTurn(n, 0.7, most)), RESPONSES)


def test_with_many_draws_it_is_the_tilted_law():
    law = tilted(0.7)
    accepted = sum(p * math.exp((VALUES[y] - MOST) / 0.7) for y, p in RESPONSES.items())
    assert (1 - accepted) ** 40 < 1e-3
    laws.follows(draws(RejectionInTurn(40, 0.7, MOST)), law)
    assert distance(law, RESPONSES) > 0.1


class _Forgetful(RejectionInTurn):
    """Wrong: a response that was rejected may be accepted at the next boundary."""

    def select(self, boundary):
        boundary.chunks = torch.ones_like(boundary.chunks)
        return super().select(boundary)


def test_a_second_chance_of_the_rejected_is_refused():
    with pytest.raises(AssertionError):
        laws.follows(draws(_Forgetful(40, 0.7, MOST)), tilted(0.7))


def test_what_it_costs_is_what_is_drawn():
    """Six tokens take five positions, those after the first. Sure to be accepted: two draws; never: N of them."""
    base = lm("gpt2", 0, 0.5)
    base = type(base)(base.model, base.tokenizer, name=base.name)
    base.__dict__["eos_ids"] = ()
    for most, expected in ((6.0, 2), (1e9, 5)):
        guider = Guider(base, None, Length(1.0), RejectionInTurn(5, 1.0, most))
        given = laws.decode(guider, ["ab", "hello there"], Sampling(max_new_tokens=6))
        assert [one.forward_passes for one in given] == [5 * expected] * 2
    side_by_side = Guider(base, None, Length(1.0), Rejection(5, 1.0, 6.0))
    assert laws.decode(side_by_side, ["ab"], Sampling(max_new_tokens=6))[0].forward_passes == 5 * 5


def test_all_laws_hold():
    token = Implicit(lm("llama", 1), lm("gpt2", 2), 0.6)
    guider = Guider(lm("gpt2", 0, 0.5), token, Explicit(value()), RejectionInTurn(4, 0.5, 1.0))
    laws.check(guider, ["ab", "hello there", "q"], Sampling(max_new_tokens=8, seed=2))


@pytest.mark.parametrize("settings", [{"n": 1}, {"beta": 0.0}, {"most": math.nan}], ids=str)
def test_bad_settings_are_named_in_one_line(settings):
    with pytest.raises(GuiderError, match=next(iter(settings))) as error:
        RejectionInTurn(**settings)
    assert "\n" not in str(error.value)
