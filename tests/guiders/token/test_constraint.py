"""Constrained decoding: the locally constrained law, the global one by SMC, and where nothing is allowed any more."""

import itertools
import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from tabular_value import PROMPT, log_prob, table, tabular
from tiny_models import END, VOCAB, lm, value

from guiders import (
    ChunkBeam,
    Constrained,
    Constraint,
    Explicit,
    Guider,
    GuiderError,
    Implicit,
    ImplicitValue,
    Length,
    Sampling,
    SuffixRedraws,
    TokenBeam,
    TwistedSMC,
    generate,
    laws,
    token_log_probs,
)
from guiders.decoding.engine import Engine
from reports.weights import distortion

torch.set_num_threads(1)
LIMIT = 4
PROMPTS = [[*p, 0] for p in itertools.product(range(3, 19), repeat=2)]  # the table sees place and last token alone
BASE = table(1)
# state -> {id: state}; the response may end in 3. After "ca" nothing is allowed, and it is not complete.
EDGES = {0: {0: 1, 2: 2}, 1: {0: 1, 1: 3}, 2: {0: 4, 1: 3}, 3: {2: 2}, 4: {}}


@dataclass(frozen=True)
class Automaton(Constraint):
    """A finite automaton over ids."""

    accepting: tuple[int, ...] = (3,)

    def start(self, base, document=None):
        return 0

    def advance(self, state, token):
        return EDGES[state][token]

    def allowed(self, state):
        mask = torch.zeros(VOCAB, dtype=torch.bool)
        mask[list(EDGES[state])] = True
        return mask

    def complete(self, state):
        return state in self.accepting


def constrained_law(logits, renormalised: bool) -> dict:
    """{response: probability}; not renormalised: the base's own probability, 0 where it is stuck."""
    found, going = {}, {((), 0): 1.0}
    while going:
        after: dict = {}
        for (tokens, state), p in going.items():
            moves = dict(EDGES[state]) | ({END: None} if state == 3 else {})
            rows = {v: math.exp(log_prob(logits, (*tokens, v)) - log_prob(logits, tokens)) for v in (*moves, END)}
            if not moves:
                found[(*tokens, END)] = p if renormalised else 0.0
                continue
            total = sum(rows[v] for v in moves) if renormalised else 1.0
            for v, then in moves.items():
                text, q = (*tokens, v), p * rows[v] / total
                if then is None or len(text) == LIMIT:
                    found[text] = found.get(text, 0.0) + q
                else:
                    after[text, then] = q
        going = after
    return found


LOCAL = constrained_law(BASE, True)
GLOBAL_WEIGHTS = constrained_law(BASE, False)
Z = sum(GLOBAL_WEIGHTS.values())
GLOBAL = {y: w / Z for y, w in GLOBAL_WEIGHTS.items()}


def decoded(search=None, scored=None, seeds=range(8)):
    extra = {} if search is None else {"search": search, "value": scored}
    guider = Guider(tabular(BASE), constraint=Automaton(), **extra)
    return [one for seed in seeds for one in laws.decode(guider, PROMPTS, Sampling(max_new_tokens=LIMIT, seed=seed))]


def test_what_is_drawn_is_the_locally_constrained_law():
    given = decoded()
    counts = Counter(one.tokens for one in given)
    laws.follows(counts, LOCAL)
    with pytest.raises(AssertionError):
        laws.follows(counts, GLOBAL)
    for one in given:
        stuck = one.tokens in ((2, 0, END), (0, 1, 2, 0))  # the second one is at the limit before it is found out
        ended = "eos" if one.tokens[-1] == END else "length"
        assert one.finish_reason == ("constraint" if stuck and one.tokens[-1] == END else ended)
    assert counts[2, 0, END]


def test_smc_draws_from_the_globally_constrained_law_and_its_evidence_is_the_valid_mass():
    """Answers weighted by the evidence, of few particles: for each response, its share within 4 standard errors."""
    given = decoded(TwistedSMC(3, 1.0, 1, 0.7), Length(0.0), range(12))
    weights = torch.tensor([one.log_weight for one in given], dtype=torch.float64).exp()
    assert abs(float(weights.mean()) - Z) < 4 * float(weights.std()) / math.sqrt(len(weights))
    far = 0.0
    for response, p in GLOBAL.items():
        hits = torch.tensor([one.tokens == response for one in given], dtype=torch.float64)
        share = float((weights * hits).sum() / weights.sum())
        error = float((weights * (hits - share)).square().sum().sqrt() / weights.sum())
        assert abs(share - p) <= 4 * error + 1e-12
        far = max(far, abs(share - LOCAL[response]) / (error + 1e-12))
    assert far > 6  # the locally constrained law is refused by the same check


def test_a_chain_that_takes_tokens_back_stays_within_the_constraint():
    given = decoded(SuffixRedraws(6, 0.5), Length(1.0), range(2))
    assert {one.tokens for one in given} <= set(LOCAL)


def test_a_beam_finds_the_likeliest_valid_response():
    """A beam as wide as the language, under the locally constrained likelihood; what gets stuck is not valid."""
    guider = Guider(tabular(BASE), constraint=Automaton(), search=TokenBeam(30, length_penalty=0.0))
    (one,) = laws.decode(guider, [PROMPT], Sampling(max_new_tokens=LIMIT))
    assert one.tokens == max(LOCAL.keys() - {(2, 0, END)}, key=LOCAL.get)


@dataclass(frozen=True)
class DeadEnd(Automaton):
    """One letter, and nothing after it."""

    def allowed(self, state):
        return (torch.arange(VOCAB) == 0) & (state == 0)


@pytest.mark.parametrize("search", [None, TokenBeam(3), TwistedSMC(2, 1.0, 1), ChunkBeam(2, 2, 1)], ids=str)
def test_where_nothing_is_allowed_any_more_a_row_ends_and_says_so(search):
    extra = {} if search is None else {"search": search, "value": Length(0.0)}
    guider = Guider(tabular(BASE), constraint=DeadEnd(), **extra)
    for one in laws.decode(guider, PROMPTS[:3], Sampling(max_new_tokens=LIMIT)):
        assert (one.tokens, one.finish_reason) == ((0, END), "constraint")
        if isinstance(search, TwistedSMC):
            assert one.log_weight == -math.inf


def test_guided_and_constrained_at_once():
    """The guided law, restricted and renormalised, along the response that was drawn."""
    tuned, untuned = table(2), table(3)
    guider = Guider(tabular(BASE), Implicit(tabular(tuned), tabular(untuned), 0.8), constraint=Automaton())
    together = BASE + 0.8 * (tuned - untuned).masked_fill(BASE < -1e6, 0.0)
    local = constrained_law(together, True)
    counts: Counter = Counter()
    for seed in range(6):
        counts.update(one.tokens for one in laws.decode(guider, PROMPTS, Sampling(max_new_tokens=LIMIT, seed=seed)))
    laws.follows(counts, local)
    with pytest.raises(AssertionError):
        laws.follows(counts, LOCAL)


@dataclass(frozen=True)
class Alternating(Constraint):
    """Even ids and odd ids by turns; complete after four."""

    def start(self, base, document=None):
        return 0

    def advance(self, state, token):
        return state + 1

    def allowed(self, state):
        return torch.arange(VOCAB) % 2 == state % 2

    def complete(self, state):
        return state >= 4


def test_all_laws_hold():
    pair = (lm("llama", 1), lm("gpt2", 2))
    token = [Implicit(*pair, 0.6), Constrained(Alternating())]
    for scored, search in (
        (ImplicitValue(*pair), ChunkBeam(2, 2, 3)),
        (Explicit(value()), TwistedSMC(3, 0.8, 2, 0.9)),
    ):
        guider = Guider(lm("gpt2", 0, 0.5), token, scored, search)
        laws.check(guider, ["ab", "hello there", "q"], Sampling(max_new_tokens=7, seed=2))


def test_a_constraint_that_allows_nothing_is_refused():
    class Nothing(Alternating):
        def allowed(self, state):
            return torch.zeros(VOCAB, dtype=torch.bool)

    with pytest.raises(GuiderError, match="allows no first token"):
        Guider(lm(), constraint=Nothing())


@dataclass(frozen=True)
class Repeated(Constraint):
    """Each prompt's own: as many ``a`` as its document says, and no more."""

    own = True

    def start(self, base, document=None):
        return None if document["times"] is None else document["times"]

    def advance(self, state, token):
        return state - 1

    def allowed(self, state):
        return (torch.arange(VOCAB) == 0) & (state > 0)

    def complete(self, state):
        return state == 0


@pytest.mark.parametrize("search", [None, TokenBeam(2), TwistedSMC(2, 1.0, 1), ChunkBeam(2, 2, 2)], ids=str)
@pytest.mark.parametrize("batch_tokens", [None, 40])
def test_each_prompt_may_have_a_constraint_of_its_own(search, batch_tokens):
    """Alone, together and one after the other in the same slots: the same responses; what does not compile ends."""
    extra = {} if search is None else {"search": search, "value": Length(0.0)}
    guider = Guider(tabular(BASE), constraint=Repeated(), **extra)
    times = [3, 1, 0, None, 2, 1, 3]
    sampling, documents = Sampling(max_new_tokens=4), [{"times": n} for n in times]
    found = generate(guider, PROMPTS[:7], sampling, batch_tokens, documents=documents)
    for one in sorted(found, key=lambda one: one.index):
        n = times[one.index]
        assert one.tokens == (0,) * (n or 0) + (END,)
        assert one.finish_reason == ("constraint" if n is None else "eos")
        assert one.notes["compiled"] == (n is not None)


def test_a_prompt_without_its_document_is_refused():
    guider = Guider(tabular(BASE), constraint=Repeated())
    with pytest.raises(GuiderError, match="2 documents for 1 prompts"):
        list(generate(guider, PROMPTS[:1], documents=[{}, {}]))
    with pytest.raises(GuiderError, match="no document"):
        token_log_probs(guider, [(PROMPTS[0], [0, 0])])


@pytest.mark.parametrize("particles", [2, 4])
def test_the_distortion_is_estimated_from_the_weights(particles):
    """KL(GLOBAL ‖ LOCAL) by enumeration, from answers and weights alone; without the weights the same is refused."""
    truth = sum(p * math.log(p / LOCAL[y]) for y, p in GLOBAL.items() if p)
    given = decoded(TwistedSMC(particles, 1.0, 1, 0.5), Length(0.0), range(16))
    ratios, log_weights = (np.array([[getattr(x, name) for x in given]]) for name in ("log_ratio", "log_weight"))
    ((found,),) = distortion(ratios, log_weights)
    weights = np.exp(log_weights)
    share = weights / weights.mean()
    f = np.where(weights > 0, -ratios, 0.0)
    mean = (share * f).mean()
    error = np.std(share * (f - mean) - (share - 1)) / math.sqrt(len(given))  # the delta method
    assert abs(found - truth) < 4 * error
    if particles == 2:
        assert abs(f[weights > 0].mean() - math.log(weights.mean()) - truth) > 6 * error


def test_a_request_that_comes_late_keeps_its_own_constraint():
    """As alone: added while others run, and in the slot of one that has left."""
    guider, sampling = Guider(tabular(BASE), constraint=Repeated()), Sampling(max_new_tokens=6)
    engine, found = Engine(guider), {}
    times = {engine.add(PROMPTS[place], sampling, document={"times": n}): n for place, n in enumerate([1, 4])}
    for place in range(2, 5):
        found |= {one.index: one for one in engine.step()}
        times[engine.add(PROMPTS[place], sampling, document={"times": place})] = place
    while not engine.idle:
        found |= {one.index: one for one in engine.step()}
    assert {index: one.tokens for index, one in found.items()} == {i: (0,) * n + (END,) for i, n in times.items()}
