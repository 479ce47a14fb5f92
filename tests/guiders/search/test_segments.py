"""Searches whose chunks end by what the base says: cascade reward sampling and cautious next-token prediction."""

import functools
import itertools
import math
from collections import Counter, defaultdict

import pytest
import torch
from test_search_divergence import LIMIT, PROMPT, PROMPTS, next_probabilities, over
from test_tabular import tabular
from tiny_models import END, ending, lm
from two_letters import RESPONSES, SAMPLING, TABLES, VALUES, by_distribution_function, divergence, draws, tilted, worth

from guiders import BestOfN, Guider, GuiderError, ImplicitValue, Likelihood, Sampling, generate, laws
from guiders.search import CARDS, CNTP
from guiders.search.best_of_n import one_of

torch.set_num_threads(1)
NEXT = next_probabilities(TABLES, 0.0, SAMPLING)[0]
ASKED = ["ab", "hello there", "q"]


def entropy(tokens) -> float:
    return -sum(p * math.log(p) for p in NEXT(tokens).values() if p > 0)


def segments(prefix, ends) -> dict:
    """Everything that a chunk can add to a prefix, {tokens: probability}; `ends` says where it is over."""
    found, open_ = defaultdict(float), {prefix: 1.0}
    while open_:
        grown = {(*t, v): p * q for t, p in open_.items() for v, q in NEXT(t).items()}
        open_ = {}
        for tokens, p in grown.items():
            if over(tokens) or ends(tokens, prefix):
                found[tokens] += p
            else:
                open_[tokens] = p
    return found


def chained(ends, tries, rule) -> dict:
    """The law of a search that draws `tries(prefix)` chunks and takes each with what `rule(prefix, chunks)` says."""
    law, open_ = defaultdict(float), {(): 1.0}
    while open_:
        after = defaultdict(float)
        for prefix, chance in open_.items():
            for picks in itertools.product(segments(prefix, ends).items(), repeat=tries(prefix)):
                texts = [tokens for tokens, _ in picks]
                for tokens, share in zip(texts, rule(prefix, texts), strict=True):
                    after[tokens] += chance * math.prod(p for _, p in picks) * share
        open_ = {}
        for tokens, p in after.items():
            (law if over(tokens) else open_)[tokens] = p
    return dict(law)


def by_rejection(beta, target, start, lengths=True):
    def rule(prefix, texts):
        shares, left, values = [], 1.0, [worth(tokens) for tokens in texts]
        for tokens, value in zip(texts, values, strict=True):
            level = min(target, start + (target - start) * (len(tokens) / LIMIT if lengths else 0))
            accepted = min(1.0, math.exp((value - level) / beta))
            shares.append(left * accepted)
            left *= 1 - accepted
        shares[values.index(max(values))] += left
        return shares

    return rule


def test_segments_are_accepted_at_a_threshold_that_rises():
    threshold, beta, target, start = 0.95, 0.5, 1.2, -1.0
    states = [entropy(t) for n in range(1, LIMIT) for t in itertools.product((0, 1), repeat=n)]
    assert min(states) < threshold < max(states)
    search = CARDS(2, beta, target, start, threshold, 1, 3)

    def ends(tokens, prefix):
        return entropy(tokens) >= threshold

    exact = chained(ends, lambda prefix: 2, by_rejection(beta, target, start))
    found = draws(search)
    laws.follows(found, exact)
    for wrong in (
        chained(ends, lambda prefix: 2, by_rejection(beta, target, start, lengths=False)),
        chained(lambda tokens, prefix: False, lambda prefix: 2, by_rejection(beta, target, start)),
        chained(ends, lambda prefix: 1, by_rejection(beta, target, start)),
    ):
        with pytest.raises(AssertionError):
            laws.follows(found, wrong)
    assert divergence(exact) <= sum(p * search.divergence(len(y), LIMIT) for y, p in exact.items())


def test_one_segment_is_rejection_of_whole_responses():
    """With r* ≥ max r: tilted at β where any is accepted, the best of what was rejected elsewhere."""
    n, beta, most = 4, 0.7, max(VALUES.values())
    accept = {y: math.exp((VALUES[y] - most) / beta) for y in RESPONSES}
    rejected = {y: p * (1 - accept[y]) for y, p in RESPONSES.items()}
    share = 1 - (1 - sum(p * accept[y] for y, p in RESPONSES.items())) ** n
    rest = by_distribution_function(lambda mass: mass**n, rejected)
    whole = CARDS(n, beta, most, threshold=99.0, least=LIMIT, most=LIMIT)
    laws.follows(draws(whole), {y: p * share + rest[y] for y, p in tilted(beta).items()})
    assert whole.divergence(3, 3) == one_of(4)


@functools.cache
def cautious(search) -> Counter:
    base = tabular(TABLES["base"])
    guider = Guider(base, None, Likelihood(base), search)
    return Counter(one.tokens for one in generate(guider, PROMPTS, SAMPLING, batch_tokens=1 << 15))


def log_likelihood(tokens, start) -> float:
    return sum(math.log(NEXT(tokens[:i])[tokens[i]]) for i in range(start, len(tokens)))


def likeliest(prefix, texts, mean=True):
    scores = [log_likelihood(t, len(prefix)) / (len(t) - len(prefix) if mean else 1) for t in texts]
    return [float(i == scores.index(max(scores))) for i in range(len(texts))]


@pytest.mark.parametrize(("low", "high", "mark", "counts"), [(0.2, 1.0, 0, {2, 3}), (0.8, 1.05, 1, {1, 2})])
def test_as_many_trials_as_the_entropy_says_up_to_punctuation_and_the_lowest_perplexity(low, high, mark, counts):
    """One letter is the punctuation. A token that is sampled alone is followed by trials as soon as they are due."""

    def tries(prefix):
        return math.floor(1 + 2 * min(1.0, max(0.0, (entropy(prefix) - low) / (high - low))))

    def punctuated(tokens, prefix):
        return tokens[-1] == mark

    def ends(tokens, prefix):
        return punctuated(tokens, prefix) or (tries(prefix) == 1 and tries(tokens) > 1)

    assert {tries(t) for n in range(LIMIT) for t in itertools.product((0, 1), repeat=n)} == counts
    found = cautious(CNTP(3, low, high, "ab"[mark], 3))
    laws.follows(found, chained(ends, tries, likeliest))
    wrong = {
        1: [(ends, lambda prefix: 3, likeliest), (lambda tokens, prefix: False, tries, likeliest)],
        2: [(ends, lambda prefix: 3, likeliest), (ends, tries, functools.partial(likeliest, mean=False))],
    }
    for other in wrong[min(counts)]:
        with pytest.raises(AssertionError):
            laws.follows(found, chained(*other))
    if min(counts) == 1:  # trials that wait for the punctuation
        with pytest.raises(AssertionError):
            laws.follows(found, chained(punctuated, tries, likeliest))


def test_one_trial_is_sampling_at_its_cost_and_trials_to_the_end_are_best_of_n_by_mean_likelihood():
    base, sampling = ending("gpt2", 0, {0, 5, 9}), Sampling(max_new_tokens=14, seed=3)
    alone = Guider(base, None, Likelihood(base), CNTP(4, low=90.0, high=91.0, marks="k"))
    plain = laws.decode(Guider(base), ASKED, sampling)
    for one, other in zip(laws.decode(alone, ASKED, sampling), plain, strict=True):
        assert (one.tokens, one.forward_passes) == (other.tokens, other.forward_passes)
    whole = Guider(base, None, Likelihood(base), CNTP(4, low=-2.0, high=-1.0, marks="<", most=14))
    best = Guider(base, None, Likelihood(base, reduce="mean"), BestOfN(4))
    found, expected = laws.decode(whole, ASKED, sampling), laws.decode(best, ASKED, sampling)
    assert [one.tokens for one in found] == [one.tokens for one in expected]
    assert [one.forward_passes for one in found] == [one.forward_passes for one in expected]


@pytest.mark.parametrize("search", [CARDS(3, 0.5, 0.5, -0.5, 2.0, 2, 6), CNTP(4, 1.0, 3.0, "kpq", 6)], ids=str)
def test_all_laws_hold(search):
    base, pair = lm("gpt2", 0, 0.5), (lm("llama", 1), lm("gpt2", 2))
    scored = Likelihood(base) if isinstance(search, CNTP) else ImplicitValue(*pair)
    laws.check(Guider(base, None, scored, search), ASKED, Sampling(max_new_tokens=8, seed=2))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: CARDS(0), "successors=0 is out of range"),
        (lambda: CARDS(beta=0.0), "beta=0.0 is out of range"),
        (lambda: CARDS(start=math.nan), "start=nan is not a finite number"),
        (lambda: CARDS(least=0), "least=0 is out of range"),
        (lambda: CNTP(0), "successors=0 is out of range"),
        (lambda: CNTP(low=2.0), "low=2.0 and high=1.5 are no range"),
        (lambda: CNTP(marks=""), "no mark is given"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_line(make, said):
    with pytest.raises(GuiderError, match=said) as error:
        make()
    assert "\n" not in str(error.value)


def test_they_need_draws_that_differ():
    assert CARDS().needs_draws
    assert CNTP().needs_draws
    assert END not in PROMPT
