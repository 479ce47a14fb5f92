"""ASAp: the law of every draw by enumeration, from masking's to the globally constrained one."""

from collections import Counter, defaultdict
from dataclasses import dataclass

import pytest
import torch
from tabular_value import table, tabular
from test_constraint import BASE, EDGES, GLOBAL, LIMIT, LOCAL, PROMPTS, Alternating, Automaton, log_prob, math
from tiny_models import END, lm

from guiders import ASAp, ChunkBeam, Guider, GuiderError, Implicit, LastOfN, Length, Sampling, generate, laws
from guiders.token.asap import _Met, _State

torch.set_num_threads(1)


def decoded(guide, n, seeds=range(4), **extra) -> Counter:
    found: Counter = Counter()
    for seed in seeds:
        guider = Guider(tabular(BASE), guide, search=LastOfN(n), **extra)
        sampling = Sampling(max_new_tokens=LIMIT, seed=seed)
        found.update(one.tokens for one in generate(guider, PROMPTS, sampling, batch_tokens=1 << 15))
    return found


def moves(state) -> dict:
    """{id: state}; the end where the response is complete, or nothing else is left."""
    found = dict(EDGES[state]) | ({END: None} if state == 3 else {})
    return found or {END: None}


def next_p(tokens, v, logits=BASE) -> float:
    return math.exp(log_prob(logits, (*tokens, v)) - log_prob(logits, tokens))


def bound(tokens, state, met) -> float:
    """c: 1 for what was not met, else the allowed mass, with the bounds of what comes next."""
    if tokens not in met or len(tokens) == LIMIT or tokens[-1:] == (END,):
        return 1.0
    if not EDGES[state] and state != 3:
        return 0.0
    return sum(next_p(tokens, v) * bound((*tokens, v), then, met) for v, then in moves(state).items())


def draw(met) -> dict:
    """{response: probability} of one draw by somebody who has met these beginnings."""
    found, going = {}, {((), 0): 1.0}
    while going:
        after = {}
        for (tokens, state), p in going.items():
            weights = {v: next_p(tokens, v) * bound((*tokens, v), then, met) for v, then in moves(state).items()}
            total = sum(weights.values())
            for v, w in weights.items():
                if w == 0:
                    continue
                text = (*tokens, v)
                if v == END or len(text) == LIMIT:
                    found[text] = p * w / total
                else:
                    after[text, moves(state)[v]] = p * w / total
        going = after
    return found


def law(n) -> dict:
    """Of the n-th draw, over everything that can be drawn before."""
    before = {frozenset(): 1.0}
    for _ in range(n - 1):
        then: dict = defaultdict(float)
        for met, chance in before.items():
            for text, p in draw(met).items():
                then[met | {text[:i] for i in range(len(text))}] += chance * p
        before = then
    found: dict = defaultdict(float)
    for met, chance in before.items():
        for text, p in draw(met).items():
            found[text] += chance * p
    return dict(found)


def far(one, other) -> float:
    return sum(abs(one.get(y, 0.0) - other.get(y, 0.0)) for y in {*one, *other}) / 2


@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_law_of_the_nth_draw_by_enumeration(n):
    exact = law(n)
    if n == 1:
        assert far(exact, LOCAL) < 1e-12
    laws.follows(decoded(ASAp(Automaton()), n), exact)
    if n > 1:
        with pytest.raises(AssertionError):
            laws.follows(decoded(ASAp(Automaton()), 1), exact)


def test_draws_come_nearer_to_the_global_law_and_follow_it_once_all_was_met():
    distances = [far(law(n), GLOBAL) for n in (1, 2, 4)]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0.1
    counts = decoded(ASAp(Automaton()), 30, range(2))
    laws.follows(counts, GLOBAL)
    with pytest.raises(AssertionError):
        laws.follows(counts, LOCAL)


class _OneLevel(_State):
    """Wrong: what is learned at a beginning is not told to the ones before it."""

    def guide(self, view):
        update, _Met.update = _Met.update, lambda met: None
        try:
            return super().guide(view)
        finally:
            _Met.update = update


@dataclass(frozen=True)
class _Wrong(ASAp):
    def state(self, guider, slots):
        return _OneLevel(self, guider, slots)


def test_bounds_that_are_not_carried_back_are_refused():
    with pytest.raises(AssertionError):
        laws.follows(decoded(_Wrong(Automaton()), 30, range(1)), GLOBAL)


def test_at_another_temperature_and_under_a_guide_it_is_the_guided_law_given_the_constraint():
    tuned, untuned, temperature = table(2), table(3), 0.6
    guide = [Implicit(tabular(tuned), tabular(untuned), 0.8), ASAp()]
    guider = Guider(tabular(BASE), guide, search=LastOfN(40), constraint=Automaton())
    together = (BASE + 0.8 * (tuned - untuned).masked_fill(BASE < -1e6, 0.0)) / temperature
    weights = {y: math.exp(log_prob(together, y)) for y, p in GLOBAL.items() if p}
    sampling = Sampling(temperature, max_new_tokens=LIMIT)
    given = generate(guider, PROMPTS, sampling, batch_tokens=1 << 15)
    laws.follows(Counter(one.tokens for one in given), {y: w / sum(weights.values()) for y, w in weights.items()})


def test_what_it_costs_is_n_responses():
    guider = Guider(lm("gpt2", 0, 0.5), ASAp(Alternating()), search=LastOfN(3))
    (one,) = laws.decode(guider, ["ab"], Sampling(max_new_tokens=1))
    assert (len(one.tokens), one.forward_passes, one.kl_search) == (1, 0, 0.0)  # the prompt's logits give all three
    (one,) = laws.decode(guider, ["ab"], Sampling(max_new_tokens=3))  # which none can end before
    assert one.forward_passes == 3 * 2


def test_all_laws_hold_and_a_prompt_s_rows_learn_together():
    base, pair = lm("gpt2", 0, 0.5), (lm("llama", 1), lm("gpt2", 2))
    asked, sampling = ["ab", "hello there", "q"], Sampling(max_new_tokens=6, seed=2)
    laws.check(Guider(base, [Implicit(*pair, 0.6), ASAp(Alternating())], search=LastOfN(3)), asked, sampling)
    beam = Guider(base, ASAp(Alternating()), Length(1.0), ChunkBeam(2, 2, 3))
    laws.batch_mates_do_not_matter(beam, asked, sampling)
    laws.arrival_does_not_matter(beam, asked, sampling)


def test_at_temperature_0_it_is_masking():
    given = laws.decode(Guider(tabular(BASE), ASAp(Automaton())), PROMPTS[:2], Sampling(0, max_new_tokens=LIMIT))
    other = laws.decode(Guider(tabular(BASE), constraint=Automaton()), PROMPTS[:2], Sampling(0, max_new_tokens=LIMIT))
    assert [one.tokens for one in given] == [one.tokens for one in other]


def test_bad_settings_are_named():
    with pytest.raises(GuiderError, match="n=0 is out of range"):
        LastOfN(0)
    with pytest.raises(GuiderError, match="no constraint is given"):
        Guider(lm(), ASAp(), search=LastOfN(2))
    with pytest.raises(GuiderError, match="temperature=0"):
        laws.decode(Guider(lm(), search=LastOfN(2)), ["ab"], Sampling(temperature=0, max_new_tokens=4))
