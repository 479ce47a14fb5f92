"""φ-decoding: its law by enumeration, the choice given its two softmaxes, what is given up, and the clusters."""

import functools
import itertools
import math
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.feature_extraction.text import TfidfVectorizer
from test_search_divergence import LIMIT, PROMPTS, next_probabilities
from test_tabular import tabular
from tiny_models import END, lm
from two_letters import RESPONSES, SAMPLING, TABLES

from guiders import Guider, GuiderError, Likelihood, PhiDecoding, Sampling, generate, laws
from guiders.search import Boundary
from guiders.search.clusters import clusters, tf_idf

torch.set_num_threads(1)
ASKED = ["ab", "hello there", "q"]
ONE_TOKEN = {"marks": "<", "most": 1}  # "<" is no token's end: steps are of one token
NEXT = next_probabilities(TABLES, 0.0, SAMPLING)[0]


def softmax(x) -> np.ndarray:
    e = np.exp(np.array(x) - max(x))
    return e / e.sum()


def chances(advantages, texts, temperature) -> np.ndarray:
    """w, from the paper; texts of one token, or none, are alike where they are equal."""
    shares = [texts.count(text) / len(texts) for text in texts]
    return softmax([a / temperature for a in advantages]) / 2 + softmax(shares) / 2


def over(tokens) -> bool:
    return tokens[-1:] == (END,) or len(tokens) == LIMIT


def steps(tokens) -> dict:
    return {tokens: 1.0} if over(tokens) else {(*tokens, v): p for v, p in NEXT(tokens).items()}


def log_p(tokens, start=0) -> float:
    return sum(math.log(NEXT(tokens[:t])[tokens[t]]) for t in range(start, len(tokens)))


def law(search) -> dict:
    """Of one beam and N candidates, steps of one token: {response: probability}, from every set of draws."""

    @functools.cache
    def answers(tokens, round_) -> dict:
        found = defaultdict(float)
        if over(tokens):
            return {tokens: 1.0}
        if round_ > search.rounds:
            for then, p in steps(tokens).items():
                for y, q in answers(then, round_).items():
                    found[y] += p * q
            return found
        for picks in itertools.product(steps(tokens).items(), repeat=search.rollouts):
            drawn, chance = [y for y, _ in picks], math.prod(p for _, p in picks)
            if all(map(over, drawn)):
                means = [log_p(y) / len(y) for y in drawn]
                for y, w in zip(drawn, chances(means, drawn, search.temperature), strict=True):
                    found[y] += chance * w
                continue
            for ahead in itertools.product(*(steps(y).items() for y in drawn)):
                p = chance * math.prod(p for _, p in ahead)
                texts = [y[len(x) :] for x, (y, _) in zip(drawn, ahead, strict=True)]
                values = [
                    log_p(y, len(x)) if y != x else log_p(x, len(tokens))
                    for x, (y, _) in zip(drawn, ahead, strict=True)
                ]
                for x, w in zip(drawn, chances(values, texts, search.temperature), strict=True):
                    for y, q in answers(x, round_ + 1).items():
                        found[y] += p * w * q
        return dict(found)

    return answers((), 1)


@functools.cache
def draws(search) -> Counter:
    base = tabular(TABLES["base"])
    guider = Guider(base, None, Likelihood(base), search)
    return Counter(one.tokens for one in generate(guider, PROMPTS, SAMPLING, batch_tokens=1 << 15))


@pytest.mark.parametrize(
    "search",
    [
        PhiDecoding(1, 2, temperature=0.2, rounds=1, **ONE_TOKEN),
        PhiDecoding(1, 3, temperature=0.3, rounds=2, least=3, spread=9.0, **ONE_TOKEN),
    ],
    ids=["one round", "two rounds"],
)
def test_the_law_of_one_beam_by_enumeration(search):
    exact = law(search)
    assert sum(exact.values()) == pytest.approx(1)
    laws.follows(draws(search), exact)
    with pytest.raises(AssertionError):
        laws.follows(draws(search), RESPONSES)


@pytest.mark.parametrize("most", [1, 2])
def test_one_beam_and_one_candidate_is_sampling(most):
    laws.follows(draws(PhiDecoding(1, 1, rounds=2, marks="<", most=most)), RESPONSES)


def test_another_temperature_and_a_choice_by_advantage_alone_are_refused():
    search = PhiDecoding(1, 3, temperature=0.3, rounds=2, least=3, spread=9.0, **ONE_TOKEN)
    for wrong in (PhiDecoding(1, 3, temperature=3.0, rounds=2, least=3, **ONE_TOKEN), _ByAdvantage(**vars(search))):
        with pytest.raises(AssertionError):
            laws.follows(draws(wrong), law(search))


@dataclass(frozen=True)
class _ByAdvantage(PhiDecoding):
    """Wrong: clusters are left out."""

    def weights(self, advantages, texts, there):
        _, share = super().weights(advantages, texts, there)
        return (advantages / self.temperature).masked_fill(~there, -torch.inf).softmax(-1), share


def boundary(chunks: int, seen: dict, copies: int, seed: int = 0) -> Boundary:
    """The same rows for so many prompts, whose numbers differ."""
    lines = {name: torch.tensor([given], dtype=torch.float64).expand(copies, -1) for name, given in seen.items()}
    rows = lines["values"].shape[1]
    numbers = torch.rand(copies, 4 * rows, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    counts, lengths = lines.pop("counts").long(), lines.pop("lengths").long()
    texts = [
        [0] * (length - n) + ([2 + r % 2] * n) for r, (length, n) in enumerate(zip(lengths[0], counts[0], strict=True))
    ]
    return Boundary(
        **lines,
        log_ratio=torch.zeros(copies, rows),
        valid=torch.ones(copies, rows, dtype=torch.bool),
        ended=counts == 0,
        over=counts == 0,
        counts=counts,
        lengths=lengths,
        limits=torch.full((copies,), 99),
        chunks=torch.full((copies,), chunks),
        successors=1,
        equal=None,
        numbers=lambda m: numbers[:, :m],
        responses=lambda: [texts] * copies,
    )


SEEN = {
    "values": [-3.0, -4.0, -9.0, -5.0, -6.0, -7.0],
    "before": [-1.0, -1.5, -2.0, -3.0, -6.0, -1.0],
    "counts": [2, 3, 2, 1, 0, 4],
    "lengths": [4, 6, 5, 4, 3, 7],
    "log_weights": [-0.4, -0.4, -math.inf, -1.1, 0.2, -1.1],  # F of the beam; the third is given up, the fifth A
}


def by_hand() -> dict:
    """{candidate: w} after a foresight, the third being given up, the fifth over."""
    there = [0, 1, 3, 4, 5]
    value = {r: (SEEN["values"][r] - SEEN["before"][r]) / max(1, SEEN["counts"][r]) for r in there}
    advantage = [0.2 if r == 4 else value[r] - SEEN["log_weights"][r] for r in there]
    texts = ["" if r == 4 else str(r % 2) for r in there]
    return dict(zip(there, chances(advantage, texts, 0.5), strict=True))


def test_beams_are_drawn_without_replacement_given_the_two_softmaxes():
    search, n = PhiDecoding(2, 3, temperature=0.5), 20000
    selection = search.select(boundary(2, SEEN, n))
    pairs = Counter(map(tuple, selection.rows[:, [0, 3]].tolist()))
    w = by_hand()
    exact = {(a, b): w[a] * w[b] / (1 - w[a]) for a, b in itertools.permutations(w, 2)}
    laws.follows(pairs, exact)
    with pytest.raises(AssertionError):  # the two best
        laws.follows(Counter({tuple(sorted(w, key=w.get)[-2:]): n}), exact)
    mixed = {(a, b): w[a] * w[b] for a, b in itertools.product(w, w)}
    with pytest.raises(AssertionError):  # with replacement
        laws.follows(pairs, mixed)
    counts, lengths = torch.tensor(SEEN["counts"]), torch.tensor(SEEN["lengths"])
    assert (selection.kept == (lengths - counts)[selection.rows]).all()
    ended = selection.rows == 4  # it is over, and takes one place
    alone = torch.arange(6) % 3 == 0
    assert (selection.idle == (ended & ~alone)).all()


def test_steps_far_below_the_others_are_given_up_and_as_many_as_there_are_beams_stay():
    generator, kept = np.random.default_rng(3), set()
    for _ in range(40):
        values, counts = generator.normal(-8, 4, 8), generator.integers(1, 4, 8)
        seen = {"values": values, "before": np.zeros(8), "counts": counts, "lengths": counts + 1}
        seen |= {"log_weights": np.zeros(8)}
        selection = PhiDecoding(2, 4).select(boundary(1, {k: list(v) for k, v in seen.items()}, 1))
        mean = values / counts
        assert (selection.idle[0].numpy() == (mean < mean.mean() - mean.std())).all()
        kept.add(int((~selection.idle).sum()))
        (one,) = PhiDecoding(7, 1).select(boundary(1, {k: list(v)[:7] for k, v in seen.items()}, 1)).idle
        assert not one.any()
    assert len(kept) > 1


def test_clusters_are_those_of_scikit_learn():
    """TF-IDF to the last digit; the partition of texts on three subjects, which no start of k-means misses."""
    generator = np.random.default_rng(1)
    subjects = generator.integers(0, 3, 12)
    texts = [[*map(int, generator.integers(0, 6, 9) + 10 * s), 50] for s in subjects]
    there = torch.ones(1, 12, dtype=torch.bool)
    theirs = TfidfVectorizer(analyzer=lambda text: text).fit_transform(texts)
    assert torch.allclose(tf_idf([texts], there)[0], torch.tensor(theirs.toarray()), atol=1e-12)
    labels = clusters([texts], there, 3)[0].numpy()
    expected = KMeans(3, n_init=10, random_state=0).fit(theirs).labels_
    assert ((labels[:, None] == labels) == (expected[:, None] == expected)).all()
    assert ((labels[:, None] == labels) == (subjects[:, None] == subjects)).all()
    assert clusters([[[], [3], []]], torch.ones(1, 3, dtype=torch.bool), 2).tolist() == [[2, 0, 2]]


def passes(**settings) -> list[int]:
    base = lm("gpt2", 0, 0.5)
    base = type(base)(base.model, base.tokenizer, name=base.name)
    base.__dict__["eos_ids"] = ()
    search = PhiDecoding(**({"width": 1, "rollouts": 2, "marks": "<", "most": 2, "spread": 9.0} | settings))
    given = laws.decode(Guider(base, None, Likelihood(base), search), ASKED, Sampling(max_new_tokens=12))
    assert {len(one.tokens) for one in given} == {12}
    return [one.forward_passes for one in given]


def test_what_it_costs_by_hand_and_when_it_stops_early():
    """Two steps of two tokens take 2 positions from the prompt, their foresights 4; then the beam's 10 tokens."""
    assert passes(rounds=1) == [2 + 4 + 10] * 3
    assert passes(rounds=8, least=1, enough=0.1) == [2 + 4 + 10] * 3
    assert passes(rounds=8, least=2, enough=0.1) == [2 + 4 + 4 + 4 + 8] * 3
    # all five rounds that 12 tokens have foresights for, and a last step
    assert passes(rounds=8, least=8) == [2 + 4 + 4 * 8 + 4] * 3


def test_all_laws_hold():
    base = lm("gpt2", 0, 0.5)
    search = PhiDecoding(2, 2, rounds=2, least=1, enough=0.9, marks="kpq", most=3)
    laws.check(Guider(base, None, Likelihood(base), search), ASKED, Sampling(max_new_tokens=10, seed=2))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"width": 0}, "width=0"),
        ({"rollouts": 0}, "rollouts=0"),
        ({"clusters": 0}, "clusters=0"),
        ({"rounds": 0}, "rounds=0"),
        ({"least": 0}, "least=0"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"enough": 1.5}, "enough=1.5"),
        ({"spread": -1.0}, "spread=-1.0"),
        ({"marks": ""}, "no mark is given"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_line(setting, said):
    with pytest.raises(GuiderError, match=said) as error:
        PhiDecoding(**setting)
    assert "\n" not in str(error.value)
