"""Task arithmetic and steering: weights and hidden states by hand, λ = 0, KL, cost, and what is refused."""

import copy
import json

import pytest
import torch
from tiny_models import lm, value

from guiders import (
    BestOfN,
    Explicit,
    Guider,
    GuiderError,
    Sampling,
    Steered,
    TaskArithmetic,
    generate,
    laws,
    token_log_probs,
)

torch.set_num_threads(1)
PROMPTS, SAMPLING = ["ab", "hello there", "q"], Sampling(max_new_tokens=9, seed=3, temperature=0.9)
BASE, TUNED, UNTUNED = lm("llama", 0), lm("llama", 3), lm("llama", 5)
TEXTS = (["abc", "good"], ["d", "bad news", "q"])
TOKENS = [4, 1, 9, 20, 3]
GUIDES = {
    "task": lambda weight: TaskArithmetic(BASE, TUNED, UNTUNED, weight),
    "steered": lambda weight: Steered(BASE, *TEXTS, layer=1, weight=weight),
}


def scored(model, tokens=TOKENS) -> list[float]:
    """log-probabilities under a transformers model, in one pass."""
    ids = BASE.encode_prompt("ab")
    logits = model(torch.tensor([ids + tokens])).logits[0, len(ids) - 1 : -1].detach()
    return logits.log_softmax(-1).gather(-1, torch.tensor(tokens)[:, None])[:, 0].tolist()


def test_the_weights_are_the_sum():
    by_hand = copy.deepcopy(BASE.model)
    theirs = [one.model.state_dict() for one in (BASE, TUNED, UNTUNED)]
    by_hand.load_state_dict({name: b + 0.3 * (theirs[1][name] - theirs[2][name]) for name, b in theirs[0].items()})
    (found,) = token_log_probs(Guider(BASE, GUIDES["task"](0.3)), [("ab", TOKENS)])
    assert found.log_probs == pytest.approx(scored(by_hand), abs=1e-9)
    assert found.log_probs != pytest.approx(scored(BASE.model), abs=1e-2)


def test_one_on_the_untuned_is_the_tuned():
    guide = TaskArithmetic(UNTUNED, TUNED, UNTUNED, 1.0)
    drawn = laws.decode(Guider(BASE, guide), PROMPTS, SAMPLING)
    assert [one.tokens for one in drawn] == [one.tokens for one in laws.decode(Guider(TUNED), PROMPTS, SAMPLING)]


@pytest.mark.parametrize("name", GUIDES)
def test_weight_0_is_the_base(name):
    plain = laws.decode(Guider(BASE), PROMPTS, SAMPLING)
    for one, other in zip(laws.decode(Guider(BASE, GUIDES[name](0.0)), PROMPTS, SAMPLING), plain, strict=True):
        assert one.tokens == other.tokens
        assert one.kl == pytest.approx(0.0, abs=1e-12)


def test_steering_the_last_layer_is_a_shift_before_the_last_norm():
    norm, seen = BASE.model.model.norm, []

    def before(text_or_ids):
        hook = norm.register_forward_pre_hook(lambda module, given: seen.append(given[0][0].detach()))
        BASE.model(torch.tensor([text_or_ids]))
        hook.remove()
        return seen.pop()

    plus, minus = (torch.stack([before(BASE.encode_prompt(text))[-1] for text in side]).mean(0) for side in TEXTS)
    ids = BASE.encode_prompt("ab")
    moved = before(ids + TOKENS) + 2.0 * (plus - minus)
    logits = BASE.model.lm_head(norm(moved))[len(ids) - 1 : -1].detach().log_softmax(-1)
    (found,) = token_log_probs(Guider(BASE, Steered(BASE, *TEXTS, layer=2, weight=2.0)), [("ab", TOKENS)])
    expected = logits.gather(-1, torch.tensor(TOKENS)[:, None])[:, 0].tolist()
    assert found.log_probs == pytest.approx(expected, abs=1e-9)
    assert scored(BASE.model) != pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("name", GUIDES)
def test_its_divergence_is_from_the_base(name):
    """The sum over steps of KL(policy ‖ base), from two passes over the whole text."""
    guide = GUIDES[name](0.7)
    for one in laws.decode(Guider(BASE, guide), PROMPTS, Sampling(max_new_tokens=9, seed=3)):
        ids = BASE.encode_prompt(PROMPTS[one.index])
        text = torch.tensor([ids + list(one.tokens)])
        p, q = (m(text).logits[0, len(ids) - 1 : -1].detach().log_softmax(-1) for m in (guide.policy.model, BASE.model))
        assert one.kl == pytest.approx(float((p.exp() * (p - q)).sum()), abs=1e-9)


@pytest.mark.parametrize("name", GUIDES)
def test_laws(name):
    laws.check(Guider(BASE, GUIDES[name](0.5)), PROMPTS, SAMPLING)


@pytest.mark.parametrize("name", GUIDES)
def test_one_model_is_needed_and_two_are_run(name):
    sampling = Sampling(max_new_tokens=8)
    (one,) = generate(Guider(BASE, GUIDES[name](0.5)), ["ab"], sampling)
    assert one.forward_passes == len(one.tokens) - 1
    assert one.computed_passes >= 2 * (len(one.tokens) - 1)
    scalar = value("mistral")
    plain = list(generate(Guider(TUNED, None, Explicit(scalar), BestOfN(3)), ["ab"], sampling))
    best = list(
        generate(Guider(BASE, TaskArithmetic(UNTUNED, TUNED, UNTUNED), Explicit(scalar), BestOfN(3)), ["ab"], sampling)
    )
    assert [one.forward_passes for one in best] == [one.forward_passes for one in plain]


def test_what_is_refused(tmp_path):
    with pytest.raises(
        GuiderError, match=r"gpt2-4: .* is no such weight, and \[24, 16\] in llama-0; task arithmetic needs"
    ):
        list(generate(Guider(BASE, TaskArithmetic(BASE, lm("gpt2", 4), UNTUNED)), ["ab"], SAMPLING))
    with pytest.raises(GuiderError, match="llama-0 has no layer 3; choose one of 1 to 2"):
        list(generate(Guider(BASE, Steered(BASE, *TEXTS, layer=3)), ["ab"], SAMPLING))
    with pytest.raises(GuiderError, match="steering: layer=0 is out of range"):
        Steered(BASE, *TEXTS, layer=0)
    with pytest.raises(GuiderError, match="steering: negative has no texts"):
        Steered(BASE, ["a"], [])
    with pytest.raises(GuiderError, match=r"steering: positive=no\.json: .*; give a JSON list of texts"):
        Steered(BASE, "no.json", ["a"])
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS[0]))
    assert Steered(BASE, str(tmp_path / "texts.json"), ["a"]).positive == ("abc", "good")
    with pytest.raises(GuiderError, match="guidance weight nan is out of range"):
        TaskArithmetic(BASE, TUNED, UNTUNED, float("nan"))
