"""Diverse verifier tree search and speculative rejection; and every guider's laws for the searches of this folder."""

from dataclasses import dataclass

import pytest
import torch
from test_search_divergence import LIMIT, law, next_probabilities
from tiny_models import lm, value
from two_letters import SAMPLING, TABLES, by_distribution_function, divergence, draws, worth

from guiders import (
    DVTS,
    BestOfN,
    BestOfPoisson,
    ChunkBeam,
    Explicit,
    Guider,
    GuiderError,
    Implicit,
    ImplicitValue,
    Pessimism,
    Rejection,
    Sampling,
    SoftBestOfN,
    SpeculativeRejection,
    generate,
    laws,
)
from guiders.decoding.decoder import Decoder
from guiders.search.best_of_n import one_of

torch.set_num_threads(1)
PAIR = (lm("llama", 1), lm("gpt2", 2))
ASKED = ["ab", "hello there", "q"]


def guider_of(search, scored=None):
    return Guider(lm("gpt2", 0, 0.5), Implicit(*PAIR, 0.6), scored or ImplicitValue(*PAIR), search)


SEARCHES = [
    SoftBestOfN(3, 0.5),
    Rejection(3, 0.5),
    Pessimism(3, 0.5),
    BestOfPoisson(3, 1.0),
    DVTS(2, 2, 3),
    SpeculativeRejection(4, 0.4, 3),
]


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
def test_all_laws_hold(search):
    laws.check(guider_of(search), ASKED, Sampling(max_new_tokens=8, seed=2))


def chunk_law(search) -> dict:
    return law(search, next_probabilities(TABLES, 0.0, SAMPLING)[0], worth)


@pytest.mark.parametrize("search", [DVTS(2, 2, 1), DVTS(3, 2, 2)], ids=str)
def test_the_best_of_independent_trees(search):
    """Known: the best of W draws of a single tree's law; a beam of that width mixes its trees, and is refused."""
    tree = chunk_law(ChunkBeam(1, search.successors, search.length))
    exact = by_distribution_function(lambda mass: mass**search.width, tree)
    laws.follows(draws(search), exact)
    mixed = chunk_law(ChunkBeam(2, 2, 1)) if search.length == 1 else tree
    with pytest.raises(AssertionError):
        laws.follows(draws(search), mixed)
    assert divergence(exact) <= sum(p * search.divergence(len(y), LIMIT) for y, p in exact.items())


def test_one_tree_is_a_chunk_beam_and_trees_of_one_successor_are_best_of_n():
    sampling = Sampling(max_new_tokens=12, seed=3)
    for search, same in [
        (DVTS(1, 3, 4), ChunkBeam(1, 3, 4)),
        (DVTS(4, 1, 4), BestOfN(4)),
        (DVTS(2, 3, None), BestOfN(6)),
    ]:
        found, expected = (laws.decode(guider_of(one), ASKED, sampling) for one in (search, same))
        assert [one.tokens for one in found] == [one.tokens for one in expected]
        assert [one.kl_search for one in found] == [one.kl_search for one in expected]


def test_no_share_given_up_is_best_of_n():
    sampling = Sampling(max_new_tokens=14, seed=1)
    given = laws.decode(guider_of(SpeculativeRejection(5, 0.0, 3)), ASKED, sampling)
    best = laws.decode(guider_of(BestOfN(5)), ASKED, sampling)
    assert [one.tokens for one in given] == [one.tokens for one in best]
    assert [one.kl_search for one in given] == [one_of(5)] * len(ASKED)


@dataclass(frozen=True)
class OfTheFirstToken(Explicit):
    """A value that the first token decides, so that its order among prefixes is the final one."""

    def rescore(self, guider, prompt, responses, ended, stop=()):
        return [float(tokens[0]) for tokens in responses]

    def scorer(self, guider, slots, columns):
        return _OfTheFirstToken()


class _OfTheFirstToken:
    wants_ratio, evaluated = None, 0

    def score(self, chunk):
        firsts = [[float(tokens[0]) for tokens in rows] for rows in chunk.responses()]
        return torch.tensor(firsts, dtype=torch.float64).view(chunk.counts.shape)

    def passes(self, counts, survivors):
        return torch.zeros_like(survivors)

    def __getattr__(self, name):
        if name in ("admit", "commit", "keep", "shrink"):
            return lambda *arguments: None
        raise AttributeError(name)


def test_where_prefixes_are_ordered_as_the_whole_it_finds_best_of_ns_answer_at_lower_cost():
    """The best row is never given up: it begins as best-of-N's answer does, with its value."""
    scored, sampling = OfTheFirstToken(value()), Sampling(max_new_tokens=13, seed=6)
    cheap = laws.decode(guider_of(SpeculativeRejection(8, 0.5, 3), scored), ASKED, sampling)
    dear = laws.decode(guider_of(BestOfN(8), scored), ASKED, sampling)
    for one, other in zip(cheap, dear, strict=True):
        assert (one.value, one.tokens[:3]) == (other.value, other.tokens[:3])
        assert one.forward_passes < other.forward_passes


def test_rows_that_are_given_up_free_memory_and_compute(monkeypatch):
    """6, 4, 3 and 2 rows: 6·4 + 4·4 + 3·4 tokens are drawn where 6·12 were, and the caches hold what is left."""
    made, held, inner = lm("gpt2", 0, 0.5), [], Decoder._boundary
    base = type(made)(made.model, made.tokenizer, name="endless")
    base.__dict__["eos_ids"] = ()
    scored = Explicit(value("gpt2", "vocab"))

    def boundary(self, *arguments):
        finished = inner(self, *arguments)
        held.append((self.shape[1], self.lanes[0].cache.bytes()["history"]))
        return finished

    monkeypatch.setattr(Decoder, "_boundary", boundary)
    sampling = Sampling(max_new_tokens=12, seed=1)
    (fewer,) = generate(Guider(base, None, scored, SpeculativeRejection(6, 1 / 3, 4)), ["ab"], sampling)
    column = held[0][1] // 4
    assert [rows for rows, _ in held] == [4, 3, 2]
    assert [history for _, history in held[:2]] == [4 * column, 3 * column]
    (whole,) = generate(Guider(base, None, scored, BestOfN(6)), ["ab"], sampling)
    # two models; of 4 tokens of a row 3 are read in the chunk, and the last one by the rows that are left
    assert fewer.forward_passes == fewer.computed_passes == 2 * (3 * (6 + 4 + 3) + 4 + 3)
    assert whole.forward_passes == whole.computed_passes == 2 * 6 * 11


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SpeculativeRejection(0), "n=0 is out of range"),
        (lambda: SpeculativeRejection(4, 1.0), "share=1.0 is out of range"),
        (lambda: SpeculativeRejection(4, 0.5, 0), "length=0 is out of range"),
        (lambda: DVTS(0, 2, 3), "width W=0 is out of range"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_line(make, said):
    with pytest.raises(GuiderError, match=said):
        make()
