"""The divergence of a search from the base, by enumeration of everything that the search can do.

The law of a search is found in plain Python, from its description alone; then the true KL(search ‖ base) is a sum.
"""

import functools
import itertools
import math
from collections import Counter, defaultdict

import pytest
import torch
from test_tabular import log_prob, table, tabular
from tiny_models import END

from guiders import BestOfN, ChunkBeam, Guider, Implicit, ImplicitValue, ReleasedChunkBeam, Sample, Sampling, generate
from guiders.laws import follows

torch.set_num_threads(1)
LIMIT = 3
PROMPTS = [[*p, 0] for p in itertools.product(range(3, 16), repeat=3)]  # the table sees place and last token alone
PROMPT = PROMPTS[0]


def tables() -> dict:
    """Logits over two letters and the end."""
    found = {name: table(seed, spread=1.5) for seed, name in enumerate(("base", "tuned", "untuned"), 1)}
    for logits in found.values():
        logits[:, :, 2] = -1e9
    return found


def next_probabilities(found: dict, weight: float, sampling: Sampling):
    """tokens so far -> {token: probability as drawn}, and the same of the base without cuts."""

    @functools.cache
    def of(tokens, shift, top_k):
        text = [*PROMPT, *tokens]
        rows = {name: found[name][len(text) - 1, text[-1]] for name in found}
        logits = (rows["base"] + shift * (rows["tuned"] - rows["untuned"])) / sampling.temperature
        kept = {v: float(logits[v]) for v in (0, 1, END)}
        for v in sorted(kept, key=kept.get)[: len(kept) - top_k if top_k else 0]:
            del kept[v]
        total = sum(map(math.exp, kept.values()))
        return {v: math.exp(x) / total for v, x in kept.items()}

    return (lambda tokens: of(tokens, weight, sampling.top_k)), (lambda tokens: of(tokens, 0.0, 0))


def over(tokens) -> bool:
    return tokens[-1:] == (END,) or len(tokens) == LIMIT


def continuations(tokens, drawn, length):
    """Everything that a row can add to `tokens` in a chunk: {tokens: probability}."""
    found, fresh = {}, {tokens: 1.0}
    for _ in range(length):
        found |= {t: p for t, p in fresh.items() if over(t)}
        fresh = {(*t, v): p * q for t, p in fresh.items() if not over(t) for v, q in drawn(t).items()}
    return found | fresh


def law(search, drawn, value) -> dict:
    """{response: probability} of a search, from every set of draws that it can meet."""
    length = LIMIT if search.scores == "end" else search.ends.most or LIMIT
    beams, answers = {((),) * search.survivors: 1.0}, defaultdict(float)
    while beams:
        after = defaultdict(float)
        for beam, chance in beams.items():
            rows = []
            for tokens in beam:
                if tokens[-1:] == (END,):
                    rows += [{tokens: 1.0}] * (search.successors if search.copies_ended else 1)
                else:
                    rows += [continuations(tokens, drawn, length)] * search.successors
            for picks in itertools.product(*(row.items() for row in rows)):
                texts = [tokens for tokens, _ in picks]
                worth = [
                    value((*t, END) if search.scores_cut_with_end and over(t) and t[-1] != END else t) for t in texts
                ]
                order = sorted(range(len(texts)), key=lambda i, worth=worth: -worth[i])
                if not search.copies_ended:
                    first = [i for n, i in enumerate(order) if texts[i] not in [texts[j] for j in order[:n]]]
                    order = first + [i for i in order if i not in first]
                kept = tuple(texts[i] for i in order[: search.survivors])
                after[kept] += chance * math.prod(p for _, p in picks)
        beams = {}
        for kept, chance in after.items():
            if all(map(over, kept)):
                answers[kept[0]] += chance
            else:
                beams[kept] = chance
    return dict(answers)


def measured(search, weight: float, sampling: Sampling):
    """What the search gave for every prompt; its law; and log-probabilities as drawn and of the base."""
    found = tables()
    base, tuned, untuned = (tabular(logits) for logits in found.values())
    value = ImplicitValue(tuned, untuned)
    guider = Guider(base, Implicit(tuned, untuned, weight) if weight else None, value, search)
    drawn, plain = next_probabilities(found, weight, sampling)

    def log_probability(tokens, of):
        return sum(math.log(of(tokens[:i])[token]) for i, token in enumerate(tokens))

    @functools.cache
    def worth(tokens):
        return log_prob(found["tuned"], PROMPT, tokens) - log_prob(found["untuned"], PROMPT, tokens)

    exact = law(search, drawn, worth)
    logs = {y: (log_probability(y, drawn), log_probability(y, plain)) for y in exact}
    return list(generate(guider, PROMPTS, sampling, batch_tokens=1 << 15)), exact, logs


SEARCHES = [
    BestOfN(3),
    ChunkBeam(1, 4, 1),
    ChunkBeam(1, 3, 2),
    ChunkBeam(2, 2, 1),
    ChunkBeam(2, 2, 2),
    ChunkBeam(2, 2, None),
    ChunkBeam(3, 1, 1),
    ReleasedChunkBeam(2, 2, 1),
    ReleasedChunkBeam(1, 3, 1),
]
SAMPLINGS = [Sampling(max_new_tokens=LIMIT, seed=5), Sampling(0.6, top_k=2, max_new_tokens=LIMIT, seed=5)]


@pytest.mark.parametrize("search", SEARCHES, ids=str)
@pytest.mark.parametrize(("weight", "sampling"), [(0.0, SAMPLINGS[0]), (0.3, SAMPLINGS[0]), (-0.5, SAMPLINGS[1])])
def test_what_is_reported_bounds_the_true_divergence(search, weight, sampling):
    """KL(S ‖ π) = KL(S ‖ π_g) + E_S[log π_g/π]: the first term is bounded by `kl_search`, the second is exact."""
    found, exact, logs = measured(search, weight, sampling)
    follows(Counter(one.tokens for one in found), exact)
    for one in found:
        guided, base = logs[one.tokens]
        assert one.log_ratio == pytest.approx(guided - base, abs=1e-9)
        assert one.kl_search == search.divergence(len(one.tokens), LIMIT)
    from_proposal = sum(p * (math.log(p) - logs[y][0]) for y, p in exact.items())
    from_base = sum(p * (math.log(p) - logs[y][1]) for y, p in exact.items())
    searched = sum(p * search.divergence(len(y), LIMIT) for y, p in exact.items())
    assert from_proposal <= searched + 1e-12
    assert from_base <= searched + sum(p * (logs[y][0] - logs[y][1]) for y, p in exact.items()) + 1e-12


def test_the_sum_along_a_path_that_a_search_chose_is_no_bound():
    """So the test above can fail: with the steps' KL in place of the log-ratio, the truth is above what is reported."""
    found, exact, logs = measured(BestOfN(3), 0.3, SAMPLINGS[0])
    on_path = {one.tokens: one.kl for one in found}
    assert set(on_path) >= {y for y, p in exact.items() if p > 0.01}
    true = sum(p * (math.log(p) - logs[y][1]) for y, p in exact.items())
    shown = sum(p * (math.log(3) - 2 / 3 + on_path.get(y, 0.0)) for y, p in exact.items())
    assert shown < true - 0.05


def test_chunks_of_a_single_beam_are_bounded_each_by_one_of_k():
    """Known: after m chunks m (log K − (K−1)/K), below m log K; a beam that is never cut is one of W·K."""
    assert ChunkBeam(1, 4, 5).divergence(tokens=11, limit=40) == pytest.approx(3 * (math.log(4) - 3 / 4))
    assert ChunkBeam(2, 4, 5).divergence(tokens=11, limit=40) == pytest.approx(math.log(2) + 3 * math.log(4))
    for whole in (ChunkBeam(4, 4, None), ChunkBeam(4, 4, 40), BestOfN(16)):
        assert whole.divergence(tokens=11, limit=40) == pytest.approx(math.log(16) - 15 / 16)
    assert Sample().divergence(11, 40) == BestOfN(1).divergence(11, 40) == ChunkBeam(1, 1, 5).divergence(11, 40) == 0


def test_only_a_search_among_rows_has_a_log_ratio():
    found = tables()
    base, tuned, untuned = (tabular(logits) for logits in found.values())
    for search, chosen in [(Sample(), False), (BestOfN(1), False), (ChunkBeam(1, 1, 2), False), (BestOfN(2), True)]:
        guider = Guider(base, Implicit(tuned, untuned), ImplicitValue(tuned, untuned), search)
        (one,) = generate(guider, PROMPTS[:1], SAMPLINGS[0])
        assert (one.log_ratio is not None) == chosen
