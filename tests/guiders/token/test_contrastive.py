"""Contrastive decoding, alignment-aware decoding and AlignDistil's teacher, against their formulas in probabilities."""

import pytest
import torch
from configured import MODELS, configured, log_probs
from tiny_models import END, VOCAB, ending, lm

from guiders import AAD, AlignDistil, Contrastive, Guider, GuiderError, Implicit, Sampling, laws, token_log_probs
from guiders.laws import stepped_log_probs

torch.set_num_threads(1)
BASE, TUNED, UNTUNED = MODELS["base"], MODELS["tuned"], MODELS["untuned"]
PROMPTS, SAMPLING = ["ab", "hello there", "q"], Sampling(max_new_tokens=8, seed=3, temperature=0.9)
GREEDY, TOKENS = Sampling(temperature=0, max_new_tokens=10), [4, 1, 9, 20, 7]


def texts(guider, sampling=SAMPLING):
    return [one.tokens for one in laws.decode(guider, PROMPTS, sampling)]


@pytest.mark.parametrize(("beta", "alpha"), [(0.5, 0.1), (1.5, 0.6), (0.8, 0.0)])
def test_contrastive_decoding_is_its_formula(beta, alpha):
    found = stepped_log_probs(configured("contrastive", beta=beta, alpha=alpha), "hello", TOKENS, length=2).exp()
    expert, amateur = (log_probs(model, "hello", TOKENS).exp() for model in (BASE, UNTUNED))
    plausible = expert >= alpha * expert.amax(-1, keepdim=True)
    odds = torch.where(plausible, expert ** (1 + beta) / amateur**beta, 0.0)
    torch.testing.assert_close(found, odds / odds.sum(-1, keepdim=True), rtol=0, atol=1e-9)
    assert torch.equal(found > 0, plausible), "the support is the mask"
    assert plausible.all() == (alpha == 0)


def test_the_ends_of_contrastive_decoding():
    assert texts(Guider(BASE, Contrastive(UNTUNED, 0.0, 0.0))) == texts(Guider(BASE))
    assert texts(Guider(BASE, Contrastive(UNTUNED, 3.0, 1.0))) == texts(Guider(BASE), Sampling(0, max_new_tokens=8))


def test_a_mask_leaves_what_another_guide_adds():
    """Inside the mask two guides add up, and outside neither matters."""
    both = Guider(BASE, [Implicit(TUNED, UNTUNED, 0.7), Contrastive(UNTUNED, 0.5, 0.3)])
    found = stepped_log_probs(both, "hello", TOKENS, length=2)
    expert, tuned, untuned = (log_probs(model, "hello", TOKENS) for model in (BASE, TUNED, UNTUNED))
    sums = expert + 0.7 * (tuned - untuned) + 0.5 * (expert - untuned)
    inside = expert.exp() >= 0.3 * expert.exp().amax(-1, keepdim=True)
    torch.testing.assert_close(found, sums.masked_fill(~inside, -torch.inf).log_softmax(-1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5])
def test_alignment_aware_decoding_takes_the_largest_ratio_among_the_plausible(alpha):
    for one in laws.decode(configured("aad", alpha=alpha), PROMPTS, SAMPLING):
        tuned, untuned = (log_probs(model, PROMPTS[one.index], one.tokens) for model in (TUNED, UNTUNED))
        for token, likely, unlikely in zip(one.tokens, tuned.exp().tolist(), untuned.exp().tolist(), strict=True):
            some = [v for v in range(VOCAB) if likely[v] >= alpha * max(likely)]
            assert token == max(some, key=lambda v: likely[v] / unlikely[v])


def test_the_ends_of_alignment_aware_decoding():
    def greedy(prompt):
        ids = torch.tensor([TUNED.encode_prompt(prompt)])
        written = TUNED.model.generate(ids, do_sample=False, max_new_tokens=10, eos_token_id=END, pad_token_id=END)
        return tuple(written[0, ids.shape[1] :].tolist())

    assert texts(configured("aad", alpha=1.0), GREEDY) == [greedy(prompt) for prompt in PROMPTS]
    assert texts(configured("aad", alpha=0.0), GREEDY) == texts(Guider(TUNED, Implicit(TUNED, UNTUNED, 1e7)), GREEDY)
    with pytest.raises(GuiderError, match="AAD has no normalised distribution"):
        token_log_probs(configured("aad", alpha=0.1), [("ab", [1])])


def test_the_teacher_goes_further_where_the_two_models_differ():
    """``w = 10 ‖p⁺ − p⁻‖₁ + 0.001``, an L1 norm; half of it, the total variation, is refused."""
    found = stepped_log_probs(configured("align_distil", scale=10.0), "hello", TOKENS, length=2)
    tuned, reverse = (log_probs(model, "hello", TOKENS) for model in (TUNED, UNTUNED))
    distance = (tuned.exp() - reverse.exp()).abs().sum(-1, keepdim=True)
    expected = (tuned + (10 * distance + 0.001) * (tuned - reverse)).log_softmax(-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)
    halved = (tuned + (10 * distance / 2 + 0.001) * (tuned - reverse)).log_softmax(-1)
    assert float((found.exp() - halved.exp()).abs().max()) > 1e-3


def test_the_ends_of_the_teacher():
    assert texts(Guider(TUNED, AlignDistil(TUNED))) == texts(Guider(TUNED))
    constant = Guider(TUNED, AlignDistil(UNTUNED, 0.0, 0.8))
    assert texts(constant) == texts(Guider(TUNED, Implicit(TUNED, UNTUNED, 0.8)))


METHODS = {
    "contrastive": {"beta": 0.5, "alpha": 0.2},
    "aad": {"alpha": 0.1},
    "align_distil": {"scale": 2.0},
}


@pytest.mark.parametrize("name", METHODS)
def test_laws(name):
    models = {**MODELS, "base": ending("gpt2", 0, {3}), "tuned": ending("llama", 3, {5})}
    guider = configured(name, models, **METHODS[name])
    laws.check(guider, ["ab", "q"], Sampling(max_new_tokens=6, seed=1, temperature=0.9))


@pytest.mark.parametrize("name", METHODS)
def test_two_models_are_run(name):
    made = ending("llama", 0, set())
    made.__dict__["eos_ids"] = ()  # nothing ends
    guider = configured(name, {**MODELS, "base": made, "tuned": made}, **METHODS[name])
    (one,) = laws.decode(guider, ["ab"], Sampling(max_new_tokens=9))
    assert one.forward_passes == 2 * 8


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Contrastive(lm(), 0.5, 1.5), r"Contrastive\.alpha=1\.5 is out of range"),
        (lambda: Contrastive(lm(), 0.5, float("nan")), "out of range"),
        (lambda: Contrastive(lm(), float("inf"), 0.5), "out of range"),
        (lambda: AAD(lm(), lm(), -0.1), r"AAD\.alpha=-0\.1 is out of range"),
        (lambda: AlignDistil(lm(), float("nan")), "out of range"),
    ],
)
def test_bad_settings_are_one_line(make, message):
    with pytest.raises(GuiderError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
