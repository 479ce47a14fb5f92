"""Drafts of the tuned model: the law is the guided one, and without the residual it is another."""

from collections import Counter
from itertools import islice, product
from math import exp

import pytest
import torch
from tabular_value import log_prob, responses, table, tabular
from test_oracle import assert_same
from tiny_models import ending, lm, value

from guiders import ChunkBeam, Explicit, Guider, Implicit, Sampling, Speculative, generate, laws
from guiders.laws import follows
from guiders.laws.oracle import naive_generate
from guiders.sampling import drafted, draw, more_numbers, uniforms

torch.set_num_threads(1)
PROMPTS, SAMPLING = ["ab", "hello there", "q"], Sampling(max_new_tokens=9, seed=3, temperature=0.9)
P = torch.tensor([0.5, 0.25, 0.15, 0.1], dtype=torch.float64)
Q = torch.tensor([0.1, 0.2, 0.2, 0.5], dtype=torch.float64)
NUMBERS = uniforms(1, torch.tensor(5), torch.arange(40_000), torch.tensor(0))


def without_residual(p, q, numbers):
    """What is published with one paper: a draft that is refused is replaced by a draw from p itself."""
    first, second, third = more_numbers(numbers, 3).unbind(-1)
    tokens = draw(q, first)
    return torch.where(second * q[tokens] < p[tokens], tokens, draw(p, third))


def test_the_law_is_the_target_s():
    exact = dict(enumerate(P.tolist()))
    follows(Counter(drafted(P, Q, NUMBERS)[0].tolist()), exact)
    wrong = Counter(without_residual(P, Q, NUMBERS).tolist())
    with pytest.raises(AssertionError, match="chi-square"):
        follows(wrong, exact)
    # what that variant draws instead: min(p, q) + (1 − Σ min(p, q)) p, this far from p in total variation
    least = torch.minimum(P, Q)
    law = least + (1 - least.sum()) * P
    assert float((law - P).abs().sum() / 2) == pytest.approx(0.175)  # by hand
    follows(wrong, dict(enumerate(law.tolist())))


def test_what_is_kept_is_the_overlap_and_equal_laws_keep_all():
    kept = draw(Q, more_numbers(NUMBERS, 3)[:, 0]) == drafted(P, Q, NUMBERS)[0]
    # a refused draft is not drawn again: the residual has no mass where q exceeds p
    overlap = float(torch.minimum(P, Q).sum())
    assert float(kept.double().mean()) == pytest.approx(overlap, abs=4 * (overlap * (1 - overlap) / 40_000) ** 0.5)
    assert torch.equal(drafted(P, P, NUMBERS)[0], draw(P, more_numbers(NUMBERS, 3)[:, 0]))


def test_whole_responses_follow_the_guided_law():
    steps, weight = 3, 1.4
    base, tuned, untuned = (table(seed) for seed in (1, 2, 3))
    guider = Guider(tabular(base), Speculative(tabular(tuned), tabular(untuned), weight))
    prompts = [[*p, 0] for p in islice(product(range(3, 20), repeat=2), 280)]
    prompts = [[a, b, c, 0] for a, b, _ in prompts for c in range(3, 15)]
    found = Counter(
        one.tokens for one in generate(guider, prompts, Sampling(max_new_tokens=steps, seed=4), batch_tokens=1 << 15)
    )
    guided = base + weight * (tuned.log_softmax(-1) - untuned.log_softmax(-1))
    guided[base < -1e8] = -1e9
    exact = {text: exp(log_prob(guided, text, prompts[0])) for text in responses(steps)}
    follows(found, exact)
    with pytest.raises(AssertionError, match="chi-square"):
        follows(found, {text: exp(log_prob(tuned, text, prompts[0])) for text in responses(steps)})


def test_it_has_the_divergence_of_implicit_guidance_and_other_draws():
    base, pair = lm("llama", 0), (lm("llama", 3), lm("gpt2", 4))
    (drawn,) = laws.decode(Guider(base, Speculative(*pair, 0.5)), ["ab"], Sampling(max_new_tokens=1))
    (plain,) = laws.decode(Guider(base, Implicit(*pair, 0.5)), ["ab"], Sampling(max_new_tokens=1))
    assert drawn.kl == pytest.approx(plain.kl)
    greedy = Sampling(temperature=0, max_new_tokens=9)
    assert_same(
        laws.decode(Guider(base, Speculative(*pair, 0.5)), PROMPTS, greedy),
        laws.decode(Guider(base, Implicit(*pair, 0.5)), PROMPTS, greedy),
    )


def test_a_tuned_model_that_is_the_target_is_always_kept():
    """w = 1 with π⁻ = π: the guided law is π⁺'s, and so is the first draft, token for token in any search."""
    base, tuned = lm("llama", 0), lm("llama", 3)
    other = Speculative(tuned, lm("gpt2", 4), 0.0)
    same = laws.decode(Guider(base, Speculative(tuned, base, 1.0)), PROMPTS, SAMPLING)
    drafts = laws.decode(Guider(tuned, Speculative(tuned, lm("gpt2", 4), 0.0)), PROMPTS, SAMPLING)
    assert [one.tokens for one in same] == [one.tokens for one in drafts]
    assert [one.tokens for one in laws.decode(Guider(base, other), PROMPTS, SAMPLING)] != [one.tokens for one in drafts]


def test_laws_and_oracle():
    pair = (lm("llama", 3), lm("gpt2", 4))
    guider = Guider(ending("llama", 0, {3}), Speculative(*pair, 0.7), Explicit(value("mistral")), ChunkBeam(2, 2, 3))
    assert_same(laws.decode(guider, PROMPTS, SAMPLING), naive_generate(guider, PROMPTS, SAMPLING, cached=True))
    laws.batch_mates_do_not_matter(guider, PROMPTS, SAMPLING)
    laws.check(Guider(guider.base, guider.token), PROMPTS, SAMPLING)


def test_the_acceptance_of_a_response_is_the_mean_overlap_along_its_tokens():
    base, tuned, untuned = (table(seed) for seed in (1, 2, 3))
    guider = Guider(tabular(base), Speculative(tabular(tuned), tabular(untuned), 1.4))
    prompt = [3, 0]
    guided = base + 1.4 * (tuned.log_softmax(-1) - untuned.log_softmax(-1))
    guided[base < -1e8] = -1e9
    for one in generate(guider, [prompt], Sampling(max_new_tokens=3, seed=4)):
        texts = [[*prompt, *one.tokens[:n]] for n in range(len(one.tokens))]
        p, q = ([x[len(text) - 1, text[-1]].softmax(-1) for text in texts] for x in (guided, tuned))
        overlaps = [float(torch.minimum(a, b).sum()) for a, b in zip(p, q, strict=True)]
        assert one.notes["acceptance"] == pytest.approx(sum(overlaps) / len(overlaps))
        assert 0 < one.notes["acceptance"] < 1
    lms = lm("llama", 0), lm("llama", 3)
    beam = Guider(lms[0], Speculative(lms[1], lms[0], 1.0), Explicit(value("mistral")), ChunkBeam(2, 2, 3))
    assert all(one.notes["acceptance"] == pytest.approx(1, abs=1e-5) for one in laws.decode(beam, PROMPTS, SAMPLING))
