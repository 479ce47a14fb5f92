"""A language of two letters and at most three tokens, with a value for each response: searches' laws by enumeration."""

import functools
import math
from collections import Counter

from test_search_divergence import LIMIT, PROMPT, PROMPTS, continuations, next_probabilities, tables
from test_tabular import log_prob, tabular

from guiders import Guider, ImplicitValue, Sampling, generate

SAMPLING = Sampling(max_new_tokens=LIMIT, seed=11)
TABLES = tables()
RESPONSES = continuations((), next_probabilities(TABLES, 0.0, SAMPLING)[0], LIMIT)  # response -> the base's probability


def worth(tokens) -> float:
    """The value of a response, or of a prefix: log π⁺ − log π⁻."""
    return log_prob(TABLES["tuned"], PROMPT, tokens) - log_prob(TABLES["untuned"], PROMPT, tokens)


VALUES = {y: worth(y) for y in RESPONSES}
RANKED = sorted(RESPONSES, key=VALUES.get)


@functools.cache
def draws(search) -> Counter:
    """What a search gives for prompts that the table can't tell apart."""
    base, tuned, untuned = (tabular(logits) for logits in TABLES.values())
    guider = Guider(base, None, ImplicitValue(tuned, untuned), search)
    given = list(generate(guider, PROMPTS, SAMPLING, batch_tokens=1 << 15))
    assert all(one.kl_search == search.divergence(len(one.tokens), LIMIT) for one in given)
    return Counter(one.tokens for one in given)


def by_distribution_function(g, measure=None) -> dict:
    """{response: g(F(r)) − g(F(r⁻))}, F the distribution function of the value under a measure (the base's)."""
    law, below = {}, 0.0
    for y in RANKED:
        upto = below + (RESPONSES if measure is None else measure)[y]
        law[y], below = g(upto) - g(below), upto
    return law


def tilted(beta) -> dict:
    """π(y) exp(r(y)/β) / Z."""
    weights = {y: p * math.exp(VALUES[y] / beta) for y, p in RESPONSES.items()}
    return {y: w / sum(weights.values()) for y, w in weights.items()}


def divergence(law, other=RESPONSES) -> float:
    """KL(law ‖ other), in nats."""
    return sum(p * math.log(p / other[y]) for y, p in law.items() if p > 0)


def distance(law, other) -> float:
    """Total variation."""
    return sum(abs(p - other[y]) for y, p in law.items()) / 2
