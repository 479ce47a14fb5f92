"""Searches written from docs/add_a_guider.md alone: one keeps parts of rows, one gives rows up."""

import math
from collections import Counter
from dataclasses import dataclass, replace

import pytest
import torch
from test_search_divergence import LIMIT, PROMPT, PROMPTS, continuations, next_probabilities, tables
from test_tabular import log_prob, tabular
from tiny_models import lm, value

from guiders import (
    BestOfN,
    ChunkBeam,
    Explicit,
    Guider,
    GuiderError,
    Implicit,
    ImplicitValue,
    Sampling,
    generate,
    laws,
    token_log_probs,
)
from guiders.decoding.decoder import Decoder
from guiders.search import Entropy, Punctuation, Search, Selection, Tokens

torch.set_num_threads(1)
ASKED = ["ab", "hello there", "q", "a fox jumps"]


@dataclass(frozen=True)
class Rejection(Search):
    """Draw a segment again until it is accepted, with probability min(1, exp((value − most) / beta))."""

    beta: float = 1.0
    most: float = 0.0
    length: int | None = None
    revises = True

    @property
    def ends(self):
        return Tokens(self.length)

    def select(self, boundary):
        accepted = boundary.numbers(1) < ((boundary.values - self.most) / self.beta).exp()
        kept = torch.where(accepted, boundary.lengths, boundary.lengths - boundary.counts)
        return Selection(torch.zeros_like(kept), kept)


@dataclass(frozen=True)
class Redraw(Search):
    """A response and a proposal that shares its beginning; the better of both goes on, `rounds` times. (The proposal is
    cut anywhere, far into what came before the chunk, and what had ended may go on.)"""

    rounds: int = 6
    length: int = 4
    survivors = 2
    revises = True

    @property
    def ends(self):
        return Tokens(self.length)

    def select(self, boundary):
        best = boundary.values.argmax(-1, keepdim=True)
        whole = boundary.lengths.gather(1, best)
        cut = (boundary.numbers(1) * (whole + 1)).long()
        last = boundary.chunks[:, None] >= self.rounds + 2
        kept = torch.cat([whole, torch.where(last, whole, cut)], 1)
        return Selection(best.expand(-1, 2), kept)


@dataclass(frozen=True)
class Halving(Search):
    """Speculative rejection: every `length` tokens the worst share of the rows leaves."""

    n: int = 8
    share: float = 0.5
    length: int = 4
    shrinks = True

    @property
    def survivors(self):
        return self.n

    @property
    def ends(self):
        return Tokens(self.length)

    def select(self, boundary):
        rows = boundary.values.shape[1]
        order = boundary.values.argsort(dim=-1, descending=True, stable=True)
        kept = order[:, : max(1, math.ceil(rows * (1 - self.share)))]
        return Selection(kept.sort(-1).values)


SEARCHES = [Rejection(0.5, 0.2, 3), Redraw(), Halving(6, 0.3, 3)]


def guider_of(search, token=True, scored=None):
    pair = (lm("llama", 1), lm("gpt2", 2))
    return Guider(lm("gpt2", 0, 0.5), Implicit(*pair, 0.6) if token else None, scored or ImplicitValue(*pair), search)


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
@pytest.mark.parametrize("kind", ["pair", "scalar", "vocab", "text"])
def test_all_laws_hold(search, kind):
    scored = {
        "pair": None,
        "scalar": Explicit(value()),
        "vocab": Explicit(value("llama", "vocab")),
        "text": Explicit(value("gpt2", "scalar", 7, "bytes")),
    }[kind]
    if isinstance(search, Rejection) and kind in ("scalar", "text"):  # low values: at 0.5 a token is drawn 100 times
        search = replace(search, beta=2.0)
    guider = guider_of(search, scored=scored)
    laws.check(guider, ASKED, Sampling(max_new_tokens=9, seed=2))


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
def test_what_is_said_of_a_response_is_of_the_tokens_that_were_kept(search):
    """log_ratio: by the uncached log-probabilities of the whole response under the guider and the base."""
    guider, sampling = guider_of(search), Sampling(max_new_tokens=14, seed=4)
    alone, plain = Guider(guider.base, guider.token), Guider(guider.base)
    for one in generate(guider, ASKED, sampling):
        pair = [(ASKED[one.index], one.tokens)]
        expected = token_log_probs(alone, pair)[0].total - token_log_probs(plain, pair)[0].total
        assert one.log_ratio == pytest.approx(expected, abs=1e-8)
        assert one.kl_search is None


def test_rejection_of_whole_responses_is_the_tilted_law():
    """Accepted with e^(r − most), most above every r: exactly π e^r / Z, by enumeration."""
    found = tables()
    base, tuned, untuned = (tabular(logits) for logits in found.values())
    drawn, _ = next_probabilities(found, 0.0, Sampling())
    worth = {
        y: log_prob(found["tuned"], PROMPT, y) - log_prob(found["untuned"], PROMPT, y)
        for y in continuations((), drawn, LIMIT)
    }
    beta, responses = 2.0, continuations((), drawn, LIMIT)
    weights = {y: p * math.exp(worth[y] / beta) for y, p in responses.items()}
    exact = {y: w / sum(weights.values()) for y, w in weights.items()}
    search = Rejection(beta, max(worth.values()))
    given = generate(Guider(base, None, ImplicitValue(tuned, untuned), search), PROMPTS, Sampling(max_new_tokens=LIMIT))
    counts = Counter(one.tokens for one in given)
    laws.follows(counts, exact)
    with pytest.raises(AssertionError):
        laws.follows(counts, responses)


def test_no_share_given_up_is_best_of_n():
    guider = guider_of(Halving(5, 0.0, 3))
    for seed in range(3):
        sampling = Sampling(max_new_tokens=14, seed=seed)
        given = laws.decode(guider, ASKED, sampling)
        best = laws.decode(guider_of(BestOfN(5)), ASKED, sampling)
        assert [one.tokens for one in given] == [one.tokens for one in best]


def test_rows_that_are_given_up_free_memory_and_compute(monkeypatch):
    """8 rows, half of them leave every 4 tokens: 8·4 + 4·4 + 2·4 + 1·4 tokens are drawn where 8·16 were, and the caches
    hold as many hypotheses as are left."""
    base = lm("gpt2", 0, 0.5)
    base = type(base)(base.model, base.tokenizer, name=base.name)
    base.__dict__["eos_ids"] = ()
    scored, held = Explicit(value("gpt2", "vocab")), []
    inner = Decoder._boundary

    def boundary(self, *arguments):
        finished = inner(self, *arguments)
        held.append((self.shape[1], self.lanes[0].cache.bytes()))
        return finished

    monkeypatch.setattr(Decoder, "_boundary", boundary)
    sampling = Sampling(max_new_tokens=16, seed=1)
    (halved,) = generate(Guider(base, None, scored, Halving(8, 0.5, 4)), ["ab"], sampling)
    token = held[0][1]["history"] // (4 * 16)  # of 4 hypotheses, columns are made 16 at a time
    assert [rows for rows, _ in held] == [4, 2, 1, 1]
    assert [bytes_["history"] for _, bytes_ in held[:3]] == [rows * 16 * token for rows in (4, 2, 1)]
    assert [bytes_["chunk"] for _, bytes_ in held[:3]] == [0, 0, 0]
    (whole,) = generate(Guider(base, None, scored, Halving(8, 0.0, 4)), ["ab"], sampling)
    assert whole.computed_passes == pytest.approx(2 * 8 * 15)
    # of 4 tokens of a row 3 are read in the chunk, and the last by those that are left
    assert halved.computed_passes == pytest.approx(2 * (3 * (8 + 4 + 2 + 1) + 4 + 2 + 1))
    assert halved.forward_passes == halved.computed_passes


def chunks_of(search, sampling):
    """Every response, and the lengths that it had at its boundaries."""
    seen: list[list[list[int]]] = []

    class Watched(type(search)):
        def select(self, boundary):
            selection = super().select(boundary)
            seen.append(boundary.lengths.gather(1, selection.rows).tolist())
            return selection

    guider = guider_of(Watched(*vars(search).values()), token=False)
    (one,) = generate(guider, ["ab"], sampling)
    return one.tokens, [lengths[0][0] for lengths in seen]


@dataclass(frozen=True)
class Beam(ChunkBeam):
    """Chunks that end as they are told to."""

    until: object = None

    @property
    def ends(self):
        return self.until


def test_chunks_end_at_punctuation():
    marks = {lm().tokenizer.convert_tokens_to_ids(letter) for letter in "kpq"}
    tokens, lengths = chunks_of(Beam(1, 3, None, Punctuation("kpq", 6)), Sampling(max_new_tokens=30, seed=3))
    assert any(tokens[end - 1] in marks for end in lengths[:-1])
    for start, end in zip([0, *lengths[:-1]], lengths, strict=True):
        assert marks.isdisjoint(tokens[start : end - 1])
        assert tokens[end - 1] in marks or end - start == 6 or end == len(tokens)


@torch.inference_mode()
def test_chunks_end_where_the_base_is_uncertain():
    """By logits of the whole text, without a cache."""
    sampling, base, threshold = Sampling(max_new_tokens=40, seed=1), lm("gpt2", 0, 0.5), 2.0
    tokens, lengths = chunks_of(Beam(1, 2, None, Entropy(threshold, 2, 9)), sampling)
    prompt = base.encode_prompt("ab")
    logits = base.model(input_ids=torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 :]
    uncertain = (torch.distributions.Categorical(logits=logits).entropy() >= threshold).tolist()
    assert 0 < sum(uncertain) < len(uncertain)
    for start, end in zip([0, *lengths[:-1]], lengths, strict=True):
        due = next((i for i in range(start + 2, start + 9) if i < len(uncertain) and uncertain[i]), start + 9)
        assert end == min(due, len(tokens))


def test_what_a_search_does_must_be_what_it_says():
    @dataclass(frozen=True)
    class Undeclared(Halving):
        shrinks = False

    with pytest.raises(GuiderError, match="set shrinks"):
        list(generate(guider_of(Undeclared()), ["ab"], Sampling(max_new_tokens=9)))

    @dataclass(frozen=True)
    class Silent(Rejection):
        revises = False

    with pytest.raises(GuiderError, match="set revises"):
        list(generate(guider_of(Silent(1.0, 0.0, 2)), ["ab"], Sampling(max_new_tokens=9)))
    with pytest.raises(GuiderError, match="which lacks '"):
        guider_of(type("Empty", (), {"survivors": 1, "successors": 1, "rows": 1, "scores": "end"})())
