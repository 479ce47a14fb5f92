"""The oracle asks a search's own rule: searches as a user writes them, in the decoder and by brute force."""

from dataclasses import dataclass
from typing import Literal

import pytest
import torch
from test_oracle import PAIR, assert_same
from tiny_models import ending, value

from guiders import ChunkBeam, Explicit, Guider, GuiderError, Implicit, Sampling, laws
from guiders.laws.oracle import naive_generate
from guiders.search import Boundary, Punctuation, Search, Selection, Tokens

torch.set_num_threads(1)
PROMPTS = ["ab", "hello there", "q", "fed cab"]
SAMPLING = Sampling(max_new_tokens=14, seed=3)


@dataclass(frozen=True)
class Halving(Search):
    """Every two tokens the worse half of the rows leaves."""

    shrinks = True
    survivors = 8
    ends = Tokens(2)

    def select(self, boundary: Boundary) -> Selection:
        order = boundary.values.argsort(dim=-1, descending=True, stable=True)
        return Selection(order[:, : -(-order.shape[1] // 2)])


@dataclass(frozen=True)
class Resampling(Search):
    """Rows are drawn by weights that grow with their values since the last boundary; what went before counts half."""

    survivors = 4
    ends = Tokens(4)

    def select(self, boundary: Boundary) -> Selection:
        weights = boundary.log_weights / 2 + boundary.values - boundary.before
        shares = weights.softmax(-1).cumsum(-1)
        rows = torch.searchsorted(shares, boundary.numbers(self.survivors) * shares[:, -1:])
        return Selection(rows, log_weights=weights.gather(1, rows))

    def choose(self, boundary: Boundary) -> torch.Tensor:
        return boundary.log_weights.argmax(-1)


@dataclass(frozen=True)
class LongestFinished(Search):
    """Rows are scored when they are over; where three or more are, the longest text of a good value ends the prompt."""

    survivors = 5
    ends = Tokens(2)

    @property
    def scores(self) -> Literal["never", "end", "boundary"]:
        return "end"

    def select(self, boundary: Boundary) -> Selection:
        rows = torch.arange(self.survivors).expand(boundary.values.shape)
        return Selection(rows, finished=(boundary.over.sum(-1) >= 3) & (boundary.chunks > 1))

    def choose(self, boundary: Boundary) -> torch.Tensor:
        good = boundary.over & (boundary.values >= boundary.values.nanmedian(-1, keepdim=True).values)
        return (boundary.lengths * good).argmax(-1)


@dataclass(frozen=True)
class Alternating(Search):
    """Survivors have two successors; the even boundaries keep the best ones, the odd ones those added last."""

    survivors, successors = 2, 2
    ends = Tokens(2)

    def select(self, boundary: Boundary) -> Selection:
        by_value = boundary.values.masked_fill(~boundary.valid, -torch.inf).argsort(
            dim=-1, descending=True, stable=True
        )
        last = torch.where(boundary.valid, torch.arange(4), -1).argsort(dim=-1, descending=True)
        return Selection(torch.where((boundary.chunks % 2 == 0)[:, None], by_value, last)[:, :2])


SEARCHES = [Halving(), Resampling(), LongestFinished(), Alternating()]


def guider(search: Search) -> Guider:
    return Guider(ending("gpt2", 0, {3, 5}), Implicit(*PAIR, 0.5), Explicit(value()), search)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
def test_a_users_search_equals_the_oracle(search, cached):
    asked = guider(search)
    assert_same(laws.decode(asked, PROMPTS, SAMPLING), naive_generate(asked, PROMPTS, SAMPLING, cached=cached))


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
def test_the_oracle_sees_a_search_that_selects_otherwise(search):
    """A rule that is off by one row gives other responses: the comparison can fail."""

    def wrong(boundary: Boundary) -> Selection:
        chosen = search.select(boundary)
        rows = (chosen.rows + 1) % boundary.values.shape[1]
        return Selection(rows, log_weights=chosen.log_weights, finished=chosen.finished)

    asked = guider(search)
    found = laws.decode(asked, PROMPTS, SAMPLING)
    other = naive_generate(asked, PROMPTS, SAMPLING, cached=False, select=wrong)
    assert [one.tokens for one in found] != [one.tokens for one in other]


@dataclass(frozen=True)
class Undoing(Search):
    revises = True
    ends = Tokens(2)


@dataclass(frozen=True)
class BySentence(ChunkBeam):
    ends = Punctuation()


@pytest.mark.parametrize(
    ("search", "culprit"), [(Undoing(), "Undoing revises"), (BySentence(), "BySentence ends chunks")]
)
def test_what_is_no_rectangle_is_refused(search, culprit):
    with pytest.raises(GuiderError, match=f"^{culprit}[^\n]*$"):
        naive_generate(guider(search), PROMPTS, SAMPLING)
