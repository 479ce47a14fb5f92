"""Truths that can be enumerated: the search tree, the optimal policy and the divergence on a language of few texts."""

import itertools
import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import END, VOCAB, words

from guiders import LM, ChunkBeam, Guider, Implicit, ImplicitValue, Sampling, generate
from guiders.laws import follows
from guiders.laws.tabular import TabularLM, optimal_logits
from guiders.sampling import stream_key, uniforms

torch.set_num_threads(1)
LETTERS = (0, 1, 2, END)  # what the tabular language is written in: a, b, c and the end


def table(seed: int, positions: int = 16, spread: float = 1.0) -> torch.Tensor:
    """Random logits over `LETTERS`; the other ids never come."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.full((positions, VOCAB, VOCAB), -1e9, dtype=torch.float64)
    logits[:, :, LETTERS] = spread * torch.randn(positions, VOCAB, len(LETTERS), generator=generator).double()
    return logits


def tabular(logits: torch.Tensor) -> LM:
    return LM(TabularLM(logits, END), words(), name="table")


def log_prob(logits: torch.Tensor, prompt: list[int], tokens) -> float:
    """log p(tokens | prompt), term by term."""
    text, total = list(prompt), 0.0
    for token in tokens:
        row = logits[min(len(text) - 1, len(logits) - 1), text[-1]].tolist()
        top = max(row)
        total += row[token] - top - math.log(sum(math.exp(x - top) for x in row))
        text.append(token)
    return total


def brute_force(tables, prompt, search, limit, seed):
    """Chunk beam search in plain Python: at every boundary the rows as (tokens, value, kept, ended)."""
    base, tuned, untuned = tables
    key = stream_key(prompt)
    key = key - (1 << 64) if key >= 1 << 63 else key
    beam, done, tree = [()] * search.width, 0, []

    def over(tokens):
        return tokens[-1:] == (END,)

    while done < limit and not all(map(over, beam)):
        steps = range(done, min(limit, done + (search.length or limit)))
        rows = []
        for s, parent in enumerate(beam):
            for k in range(1 if over(parent) else search.successors):
                tokens = parent
                for step in steps:
                    if over(tokens):
                        break
                    numbers = (torch.tensor(x) for x in (key, s * search.successors + k, step))
                    u = float(uniforms(seed, *numbers))
                    odds = [math.exp(log_prob(base, [*prompt, *tokens], [v])) for v in range(VOCAB)]
                    cumulated = list(itertools.accumulate(odds))
                    tokens = (*tokens, next(v for v in range(VOCAB) if cumulated[v] > u * cumulated[-1]))
                rows.append((tokens, log_prob(tuned, prompt, tokens) - log_prob(untuned, prompt, tokens)))
        order = sorted(range(len(rows)), key=lambda i: -rows[i][1])
        first = [i for n, i in enumerate(order) if rows[i][0] not in [rows[j][0] for j in order[:n]]]
        kept = (first + [i for i in order if i not in first])[: search.width]
        tree.append([(*row, i in kept, over(row[0])) for i, row in enumerate(rows)])
        beam, done = [rows[i][0] for i in kept], steps.stop
    return tree, beam[0]


@given(
    search=st.builds(ChunkBeam, st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 2, 4, None])),
    limit=st.integers(1, 9),
    seed=st.integers(0, 50),
)
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
def test_brute_force_search_gives_the_same_tree(search, limit, seed):
    tables = [table(seed + i) for i in range(3)]
    base, tuned, untuned = map(tabular, tables)
    guider = Guider(base, value=ImplicitValue(tuned, untuned), search=search)
    prompts = [[3, 1, 0], [5, 2]]
    for found in generate(guider, prompts, Sampling(max_new_tokens=limit, seed=seed), trace=True):
        tree, best = brute_force(tables, prompts[found.index], search, limit, seed)
        assert found.tokens == best
        assert len(found.trace["chunks"]) == len(tree)
        for chunk, rows in zip(found.trace["chunks"], tree, strict=True):
            seen = [(h["text"], h["kept"], h["ended"]) for h in chunk["hypotheses"]]
            assert seen == [(base.decode(list(t)), kept, ended) for t, _, kept, ended in rows]
            values = [h["value"] for h in chunk["hypotheses"]]
            assert values == pytest.approx([value for _, value, _, _ in rows], abs=1e-6)


@given(
    search=st.builds(ChunkBeam, st.integers(1, 3), st.integers(1, 3), st.sampled_from([2, 3, 5])),
    chunk=st.integers(0, 2),
    place=st.sampled_from(["start", "middle", "end", "last"]),
    seed=st.integers(0, 50),
)
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
def test_a_hypothesis_that_ends_anywhere_in_a_chunk(search, chunk, place, seed):
    """Half of the hypotheses end at one position: at a chunk's first token, inside, at its last, or at the limit's."""
    limit = 3 * search.length - 1
    at = chunk * search.length + {"start": 0, "middle": search.length // 2, "end": search.length - 1, "last": 0}[place]
    at = limit - 1 if place == "last" else min(at, limit - 1)
    prompt = [3, 1, 0]
    tables = [table(seed + i) for i in range(3)]
    tables[0][:, :, END] = -1e9  # nothing ends before
    tables[0][len(prompt) - 1 + at, :, END] = 1.0
    base, tuned, untuned = map(tabular, tables)
    guider = Guider(base, value=ImplicitValue(tuned, untuned), search=search)
    (found,) = generate(guider, [prompt], Sampling(max_new_tokens=limit, seed=seed), trace=True)
    tree, best = brute_force(tables, prompt, search, limit, seed)
    assert found.tokens == best
    assert len(found.tokens) == (at + 1 if best[-1] == END else limit)
    for chunk_, rows in zip(found.trace["chunks"], tree, strict=True):
        seen = [(h["text"], h["kept"], h["ended"]) for h in chunk_["hypotheses"]]
        assert seen == [(base.decode(list(t)), kept, ended) for t, _, kept, ended in rows]


def responses(steps: int):
    """Every response of at most so many tokens: ended, or cut by the limit."""
    for n in range(1, steps + 1):
        for body in itertools.product(LETTERS[:-1], repeat=n - 1):
            yield (*body, END)
            if n == steps:
                yield from ((*body, last) for last in LETTERS[:-1])


def exact_guidance(steps: int, draws: int):
    """Draws under the exact value function, and the closed form of what they should follow.

    The table sees the position and the last token of a prompt only, so that prompts that differ earlier are
    independent draws from one distribution.
    """
    plain, reward = table(1), 1.5 * table(2)
    reward[reward < -1e8] = 0.0
    guided = optimal_logits(plain, reward, END, start=4, steps=steps)
    base = tabular(plain)
    guider = Guider(base, token=Implicit(tabular(guided), tabular(plain), weight=1.0))
    prompts = [[*p, 0] for p in itertools.islice(itertools.product(range(3, 20), repeat=4), draws)]
    found = list(generate(guider, prompts, Sampling(max_new_tokens=steps, seed=11), batch_tokens=1 << 15))
    prompt = prompts[0]
    weights, odds = {}, {}
    for tokens in responses(steps):
        text = [*prompt, *tokens]
        earned = sum(float(reward[4 + t, text[4 + t], token]) for t, token in enumerate(tokens))
        odds[tokens] = log_prob(plain, prompt, tokens)
        weights[tokens] = odds[tokens] + earned
    normaliser = math.log(sum(map(math.exp, weights.values())))
    return found, {tokens: math.exp(w - normaliser) for tokens, w in weights.items()}, odds


def test_exact_guidance_follows_the_optimal_policy():
    found, optimal, base = exact_guidance(steps=3, draws=4000)
    follows(Counter(generation.tokens for generation in found), optimal)
    with pytest.raises(AssertionError, match="chi-square"):  # the test has the power to tell the base from it
        follows(Counter(generation.tokens for generation in found), {t: math.exp(p) for t, p in base.items()})


def test_reported_kl_is_the_true_one():
    """The expected sum over the path equals KL(optimal ‖ base), by enumeration of all responses."""
    found, optimal, base = exact_guidance(steps=2, draws=1500)
    on_path = {generation.tokens: generation.kl for generation in found}
    assert set(on_path) == set(optimal), "too few draws to see every response"
    true = sum(p * (math.log(p) - base[tokens]) for tokens, p in optimal.items())
    assert sum(p * on_path[tokens] for tokens, p in optimal.items()) == pytest.approx(true, rel=1e-6)
