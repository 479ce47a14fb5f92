"""Parts that can't work together say so, each by name, in one line and before anything is decoded."""

from dataclasses import dataclass

import pytest
import torch
from architectures import runs
from test_memory_guides import PAIR, Penalty
from test_searches_of_users import Rejection
from tiny_models import lm, value

from guiders import ChunkBeam, Explicit, Guider, GuiderError, Implicit, Sampling
from guiders.laws import decode
from guiders.search import Entropy, Punctuation, Tokens

torch.set_num_threads(1)
FEW = Sampling(max_new_tokens=4)


def said(raised) -> str:
    """The error's line; that it is one, and that the command line ends with code 2."""
    assert raised.value.exit_code == 2
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("token", [Penalty(), [Implicit(*PAIR, 0.5), Penalty()]], ids=["alone", "among others"])
def test_a_memory_can_not_be_taken_back(token):
    with pytest.raises(GuiderError) as raised:
        Guider(lm(), token, Explicit(value()), Rejection(length=3))
    assert "Rejection takes tokens back, which the memory of Penalty can't" in said(raised)


@pytest.mark.parametrize("parts", [{"token": Implicit(*PAIR, 0.5)}, {"token": None}], ids=["additive", "none"])
def test_what_has_no_memory_may_be_revised(parts):
    (one,) = decode(Guider(lm(), parts["token"], Explicit(value()), Rejection(length=2, most=-5.0)), ["ab"], FEW)
    assert 1 <= len(one.tokens) <= 4


@dataclass(frozen=True)
class Ragged(ChunkBeam):
    at: Tokens | Punctuation | Entropy | None = None

    @property
    def ends(self):
        return self.at


@pytest.mark.parametrize("at", [Punctuation(".a", 3), Entropy(0.5, 1, 3)], ids=lambda at: type(at).__name__)
def test_recurrent_layers_can_not_wait_where_rows_end_their_chunks_apart(at):
    """Of a base, and of a guide beside a base without such layers."""
    recurrent = runs("olmo_hybrid")[0]
    for base, token in ((recurrent, None), (lm(), Implicit(recurrent, recurrent, 0.5))):
        with pytest.raises(GuiderError) as raised:
            decode(Guider(base, token, Explicit(value()), Ragged(2, 2, at=at)), [[1, 2, 3]], FEW)
        assert f"{recurrent.name} has recurrent layers, whose states can't wait" in said(raised)
        assert f"({type(at).__name__})" in said(raised)


def test_recurrent_layers_take_chunks_of_a_fixed_length():
    """The same search and models, but for where chunks end."""
    guider = Guider(runs("olmo_hybrid")[0], None, Explicit(value()), Ragged(2, 2, at=Tokens(2)))
    (one,) = decode(guider, [[1, 2, 3]], FEW)
    assert len(one.tokens) >= 1
