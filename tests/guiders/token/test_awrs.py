"""Adaptive weighted rejection sampling beside its own description, enumerated, and beside masking."""

import itertools
import math
from collections import Counter, defaultdict

import pytest
import torch
from tabular_value import log_prob, table, tabular
from test_constraint import BASE, GLOBAL, LIMIT, LOCAL, PROMPTS, Alternating, Automaton, DeadEnd, Z
from tiny_models import END, lm, value

from guiders import AWRS, Constrained, Explicit, Guider, GuiderError, Implicit, Length, Sampling, TwistedSMC, laws
from guiders.token import View
from guiders.token.awrs import _State

torch.set_num_threads(1)
MANY = [[*p, 0] for p in itertools.product(range(3, 19), repeat=3)]
FIRST = {v: math.exp(log_prob(BASE, (v,), MANY[0])) for v in (0, 1, 2, END)}  # the first token; 0 and 2 are allowed
MASS = FIRST[0] + FIRST[2]


def one_particle(guide, seeds, limit, prompts=PROMPTS):
    """Answers whose log-weight is the sum of log w: the value is 0, and nothing is resampled."""
    guider = Guider(tabular(BASE), guide, Length(0.0), TwistedSMC(1, 1.0, 8, 0.0))
    sampling = [Sampling(max_new_tokens=limit, seed=seed) for seed in seeds]
    return [one for some in sampling for one in laws.decode(guider, prompts, some, batch_tokens=1 << 15)]


def by_rejection(probabilities: dict, allowed: set) -> dict:
    """{(token, w, checks): probability}: the algorithm, over every order in which tokens can be drawn."""
    found: dict = defaultdict(float)
    for order in itertools.permutations(probabilities):
        left, chance, weight, accepted = 1.0, 1.0, 1.0, None
        for i, token in enumerate(order):
            q = min(1.0, probabilities[token] / left)
            chance, left = chance * q, left - probabilities[token]
            if accepted is not None:
                weight *= 1.0 if token in allowed else accepted[1]
                break
            if token in allowed:
                accepted = token, q, i
            else:
                weight *= 1 - q
        key = accepted[0], round(weight, 6), accepted[2] + 2
        found[key] += chance / math.factorial(len(order) - i - 1)  # the orders of the rest have one beginning
    return dict(found)


EXACT = by_rejection(FIRST, {0, 2})


def test_the_joint_law_of_token_weight_and_checks_is_that_of_drawing_until_one_is_allowed():
    assert sum(EXACT.values()) == pytest.approx(1)
    assert sum(w * p for (_, w, _), p in EXACT.items()) == pytest.approx(MASS, abs=1e-5)
    given = one_particle(AWRS(Automaton()), range(2), 1, MANY)
    seen = [(*one.tokens, round(math.exp(one.log_weight), 6), round(one.notes["constraint_checks"])) for one in given]
    laws.follows(Counter(seen), EXACT)


class _Left(_State):
    """Wrong: no further token is drawn, so that the weight is what rejection has left."""

    def weigh(self, view, tokens):
        return (self.left / self.mass).log().expand(tokens.shape)


def shown(kind, n: int = 60000):
    """n first tokens and their weights w, of a state that is asked once."""
    guider = Guider(tabular(BASE), AWRS(Automaton()))
    generator = torch.Generator().manual_seed(1)
    draw = lambda *shape: torch.rand(n, 1, 1, *shape, generator=generator, dtype=torch.float64)  # noqa: E731
    logits = BASE[len(MANY[0]) - 1, 0].expand(n, 1, 1, -1)
    none = torch.zeros(n, 1, 1, dtype=torch.long)
    so_far = none[..., None][..., :0], none
    view = View(logits, logits, (), none, none == 0, lambda: so_far, draw, None)
    state = kind(guider.guides[0], guider, n)
    tokens = state.guide(view).softmax(-1).cumsum(-1).ge(draw(1)).long().argmax(-1)
    return tokens.flatten(), (state.weigh(view, tokens) + math.log(MASS)).exp().flatten()


def test_the_token_s_law_is_that_of_masking_and_the_mean_weight_is_the_allowed_mass():
    tokens, w = shown(_State)
    assert sum(abs(float((tokens == v).double().mean()) - FIRST[v] / MASS) for v in (0, 2)) / 2 <= 0.004
    for v in (0, 2):  # whatever the token is
        some = w[tokens == v]
        assert abs(float(some.mean()) - MASS) < 4 * float(some.std()) / math.sqrt(len(some))
    _, wrong = shown(_Left)
    assert abs(float(wrong.mean()) - MASS) > 20 * float(wrong.std()) / math.sqrt(len(wrong))


def test_whole_responses_follow_the_local_law_and_their_mean_weight_is_the_valid_mass():
    given = one_particle(AWRS(Automaton()), range(10), LIMIT)
    laws.follows(Counter(one.tokens for one in given), LOCAL)
    weights = torch.tensor([one.log_weight for one in given], dtype=torch.float64).exp()
    assert abs(float(weights.mean()) - Z) < 4 * float(weights.std()) / math.sqrt(len(weights))


def test_within_smc_answers_follow_the_global_law():
    """Answers weighted by the evidence, of few particles: for each response, its share within 4 standard errors."""
    guider = Guider(tabular(BASE), AWRS(), Length(0.0), TwistedSMC(3, 1.0, 1, 0.7), Automaton())
    sampling = [Sampling(max_new_tokens=LIMIT, seed=seed) for seed in range(12)]
    given = [one for some in sampling for one in laws.decode(guider, PROMPTS, some)]
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


def test_the_weight_is_of_the_distribution_that_is_drawn_from():
    """At another temperature, and under a guide, Z is that of the guided law; the target stays the base's."""
    tuned, untuned, temperature = table(2), table(3), 0.6
    guide = [Implicit(tabular(tuned), tabular(untuned), 0.8), AWRS(Automaton())]
    guider = Guider(tabular(BASE), guide, Length(0.0), TwistedSMC(1, 1.0, 8, 0.0))
    sampling = Sampling(max_new_tokens=1, temperature=temperature)
    given = laws.decode(guider, MANY, sampling, batch_tokens=1 << 15)
    row = len(MANY[0]) - 1, 0
    base = (BASE[row] / temperature).softmax(-1)
    drawn = ((BASE + 0.8 * (tuned - untuned).masked_fill(BASE < -1e6, 0.0))[row] / temperature).softmax(-1)
    exact: dict = defaultdict(float)
    for (v, w, _), p in by_rejection({v: float(drawn[v]) for v in (0, 1, 2, END)}, {0, 2}).items():
        exact[v, round(math.log(w * float(base[v] / drawn[v])), 4)] += p
    laws.follows(Counter((*one.tokens, round(one.log_weight, 4)) for one in given), exact)


def test_where_nothing_is_allowed_the_weight_is_nothing():
    guider = Guider(tabular(BASE), AWRS(DeadEnd()), Length(0.0), TwistedSMC(2, 1.0, 1))
    for one in laws.decode(guider, PROMPTS[:3], Sampling(max_new_tokens=LIMIT)):
        assert (one.tokens, one.finish_reason, one.log_weight) == ((0, END), "constraint", -math.inf)


def test_it_takes_the_guider_s_constraint_in_its_own_place_and_at_temperature_0_it_is_masking():
    mine = Guider(tabular(BASE), AWRS(), constraint=Automaton())
    assert mine.guides == (AWRS(Automaton()),)
    other = Guider(tabular(BASE), constraint=Automaton())
    assert other.guides == (Constrained(Automaton()),)
    for temperature in (0, 1):  # the same numbers draw the same tokens
        given = [laws.decode(one, PROMPTS, Sampling(temperature, max_new_tokens=LIMIT)) for one in (mine, other)]
        assert [one.tokens for one in given[0]] == [one.tokens for one in given[1]]
        assert [one.kl for one in given[0]] == [one.kl for one in given[1]]


def test_all_laws_hold():
    token = [Implicit(lm("llama", 1), lm("gpt2", 2), 0.6), AWRS(Alternating())]
    guider = Guider(lm("gpt2", 0, 0.5), token, Explicit(value()), TwistedSMC(3, 0.8, 2, 0.9))
    laws.check(guider, ["ab", "hello there", "q"], Sampling(max_new_tokens=7, seed=2))


def test_without_a_constraint_it_is_refused_in_one_line():
    with pytest.raises(GuiderError, match=r"no constraint is given; set guider\.constraint") as error:
        Guider(lm(), AWRS())
    assert "\n" not in str(error.value)
