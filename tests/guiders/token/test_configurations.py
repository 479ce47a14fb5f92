"""Methods that are configurations of what exists, each with its law."""

import itertools
from collections import Counter
from dataclasses import dataclass, replace

import pytest
import torch
from configured import MODELS, configured, log_probs
from test_tabular import END, log_prob, responses, table, tabular
from tiny_models import VOCAB, ending

from guiders import ChunkBeam, Guider, Implicit, ImplicitValue, QGuidance, Sampling, laws, token_log_probs
from guiders.laws import follows, stepped_log_probs
from guiders.value import Value

torch.set_num_threads(1)
BASE, TUNED, UNTUNED = MODELS["base"], MODELS["tuned"], MODELS["untuned"]
PROMPTS, SAMPLING = ["ab", "hello there", "q"], Sampling(max_new_tokens=8, seed=3, temperature=0.9)
TOKENS = [4, 1, 9, 20, 7]


def near(guider, *weighted, prompt="hello"):
    """The guided law is the geometric mean of these models, (model, exponent) each, before every token."""
    found = stepped_log_probs(guider, prompt, TOKENS, length=2)
    expected = sum(weight * log_probs(model, prompt, TOKENS) for model, weight in weighted).log_softmax(-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def same_texts(guider, other, sampling=SAMPLING):
    found, expected = (laws.decode(one, PROMPTS, sampling) for one in (guider, other))
    assert [one.tokens for one in found] == [one.tokens for one in expected]


def test_proxy_tuning_is_emulated_fine_tuning():
    near(configured("proxy_tuning", alpha=1.0), (BASE, 1), (TUNED, 1), (UNTUNED, -1))
    same_texts(configured("proxy_tuning", alpha=0.7), configured("eft", weight=0.7))


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 2.0])
def test_realignment_goes_from_the_reference_to_the_aligned_model_and_beyond(strength):
    near(configured("dera", **{"lambda": strength}), (UNTUNED, 1 - strength), (TUNED, strength))


def test_realignment_of_strength_1_writes_what_the_aligned_model_writes():
    same_texts(configured("dera", **{"lambda": 1.0}), Guider(TUNED))
    same_texts(configured("dera", **{"lambda": 0.0}), Guider(UNTUNED))


def test_mixtures_are_geometric_means():
    near(configured("nash_md", share=0.5), (TUNED, 0.5), (UNTUNED, 0.5))
    near(configured("mod", share=0.5), (BASE, 0.5), (TUNED, 0.5))
    several = Guider(BASE, [Implicit(TUNED, BASE, 0.2), Implicit(UNTUNED, BASE, 0.5)])
    near(several, (BASE, 0.3), (TUNED, 0.2), (UNTUNED, 0.5))


def test_an_autoregressive_reward_model_that_is_the_base_halves_the_temperature():
    near(configured("genarm", alpha=0.6), (BASE, 1), (TUNED, 0.6))
    same = configured("genarm", {**MODELS, "tuned": BASE}, alpha=1.0)
    assert [one.tokens for one in laws.decode(same, PROMPTS, SAMPLING)] == [
        one.tokens for one in laws.decode(Guider(BASE), PROMPTS, replace(SAMPLING, temperature=0.45))
    ]


@dataclass(frozen=True)
class OfTheLastToken(Value):
    """A number for the response's last token."""

    of: tuple[float, ...]

    def rescore(self, guider, prompt, responses, ended, stop=()):
        return [self.of[tokens[-1]] for tokens in responses]

    def scorer(self, guider, slots, columns):
        return _OfTheLastToken(self)


class _OfTheLastToken:
    wants_ratio, evaluated = None, 0

    def __init__(self, value):
        self.value = value

    def score(self, chunk):
        values = [[self.value.of[tokens[-1]] if tokens else 0.0 for tokens in slot] for slot in chunk.responses()]
        return torch.tensor(values, dtype=torch.float64).view(chunk.counts.shape)

    def admit(self, *arguments): ...

    commit = keep = shrink = admit

    def passes(self, counts, survivors):
        return torch.zeros_like(survivors)


def test_blockwise_controlled_decoding_draws_the_largest_of_k():
    """One-token blocks: P(v) = F(v)^K - F(v-)^K, with F the distribution function of the values of one draw."""
    values, k = (0.3, -1.0, 0.3, *[0.0] * (VOCAB - 4), 2.0), 4  # of a, b, c and the end; a and c are equal
    logits = table(5, spread=0.7)
    guider = configured("cd_blockwise", {**MODELS, "base": tabular(logits)}, successors=k, length=1)
    guider = replace(guider, value=OfTheLastToken(values))
    prompts = [[*p, 0] for p in itertools.islice(itertools.product(range(3, 20), repeat=3), 3000)]
    found = laws.decode(guider, prompts, Sampling(max_new_tokens=1, seed=5), batch_tokens=1 << 15)
    one = logits[3, 0].softmax(-1)
    levels = sorted({values[i] for i in (0, 1, 2, END)})
    below = {v: float(one[[i for i in (0, 1, 2, END) if values[i] < v]].sum()) for v in levels}
    upto = {v: float(one[[i for i in (0, 1, 2, END) if values[i] <= v]].sum()) for v in levels}
    observed = Counter(values[generation.tokens[0]] for generation in found)
    follows(observed, {v: upto[v] ** k - below[v] ** k for v in levels})
    with pytest.raises(AssertionError, match="chi-square"):  # one draw fewer is refused
        follows(observed, {v: upto[v] ** (k - 1) - below[v] ** (k - 1) for v in levels})


def test_with_the_exact_soft_q_values_the_whole_response_is_tilted_by_its_reward():
    """Every response's probability is that of the policy optimal for reward and KL, ``π e^r / Z``, enumerated."""
    steps, prompt = 3, [5, 7, 0]
    plain, reward = table(1), table(2)
    reward[reward < -1e8] = 0.0
    q = soft_q(plain, reward, steps, start=len(prompt) - 1)
    guider = Guider(tabular(plain), QGuidance(tabular(q / 2), 2.0))
    weights = {}
    for tokens in responses(steps):
        text = [*prompt, *tokens]
        earned = sum(float(reward[2 + t, text[2 + t], token]) for t, token in enumerate(tokens))
        weights[tokens] = log_prob(plain, prompt, tokens) + earned
    normaliser = torch.tensor(list(weights.values())).logsumexp(0)
    found = token_log_probs(guider, [(prompt, tokens) for tokens in weights])
    for one, weight in zip(found, weights.values(), strict=True):
        assert one.total == pytest.approx(float(weight - normaliser), abs=1e-6)


def soft_q(plain, reward, steps, start):
    """``Q = r + V`` of the next token, with ``V = log Σ π e^Q``, backwards in plain loops."""
    log_pi, q = plain.log_softmax(-1), torch.zeros_like(plain)
    after = torch.zeros(VOCAB, dtype=plain.dtype)
    for position in range(start + steps - 1, start - 1, -1):
        after[END] = 0.0
        q[position] = reward[position] + after
        after = (log_pi[position] + q[position]).logsumexp(-1)
    return q


CONFIGURED = {
    "dera": {"lambda": 0.7},
    "genarm": {"alpha": 1.0},
    "mod": {"share": 0.5},
    "cd_blockwise": {"successors": 3, "length": 2},
    "context_aware": {"alpha": 0.5},
}


@pytest.mark.parametrize("name", CONFIGURED)
def test_laws(name):
    models = {**MODELS, "base": ending("gpt2", 0, {3}), "untuned": ending("llama", 4, {5})}
    guider = configured(name, models, **CONFIGURED[name])
    laws.check(guider, ["ab this c", "q"], Sampling(max_new_tokens=6, seed=1, temperature=0.9))


@pytest.mark.parametrize(
    ("name", "settings"),
    [("dera", {"lambda": 0.7}), ("mod", {"share": 0.5}), ("context_aware", {"alpha": 0.5})],
)
def test_a_model_that_is_named_twice_is_run_once(name, settings):
    """With T tokens, T - 1 positions of each of the two models: the first token comes from the prompt."""
    made = ending("gpt2", 0, set())
    made.__dict__["eos_ids"] = ()  # nothing ends
    guider = configured(name, {**MODELS, "base": made, "untuned": made}, **settings)
    for one in laws.decode(guider, ["ab this c"], Sampling(max_new_tokens=9)):
        assert one.forward_passes == 2 * 8


def test_a_value_of_the_base_and_a_guide_falls_out_of_the_guidance():
    """The pair is (guide, base): its ratio is that of whole texts, and no position is read for it."""
    value = ImplicitValue(TUNED, UNTUNED)
    guider = Guider(UNTUNED, Implicit(TUNED, UNTUNED, 0.5), value, ChunkBeam(2, 2, 3))
    assert value.reads(guider) == ()
    laws.cached_value_equals_rescore(guider, PROMPTS, SAMPLING)
