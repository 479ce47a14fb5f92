"""One model under two prompts: context-aware decoding, classifier-free guidance, principles, Self-Debias."""

import copy

import pytest
import torch
from configured import MODELS, configured, log_probs
from tiny_models import byte_level, ending, lm

from guiders import LM, Guider, GuiderError, Implicit, Prompted, Sampling, SelfDebias, laws, token_log_probs
from guiders.laws import stepped_log_probs
from guiders.models.prompt import Chat, LongPrompt

torch.set_num_threads(1)
BASE, TOKENS = MODELS["base"], [4, 1, 9, 20, 7]
SAMPLING = Sampling(max_new_tokens=8, seed=3, temperature=0.9)
WITH_SYSTEM = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
WITHOUT = "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"
REFUSING = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}a"


def chat(template: str) -> LM:
    tokenizer = copy.deepcopy(byte_level())
    tokenizer.chat_template = template
    return LM(BASE.model, tokenizer, template="chat", name="chatty")


def test_the_weights_are_one_and_the_caches_two():
    other = Prompted(BASE, template="c {prompt}")
    assert other.model is BASE.model
    assert Guider(BASE, Implicit(other, BASE)).models == (BASE, other)


def test_what_is_read():
    other = Prompted(chat(WITH_SYSTEM), system="Rhyme.", template="In verse: {prompt}", without=r"\(.*?\) ")
    said = "<system>Rhyme.<user>In verse: Go on.<assistant>"
    assert other.decode(other.encode_prompt("Go (note) on.")) == said
    assert other.decode(other.encode_prompt(other.tokenizer("Go (note) on.")["input_ids"])) == said
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "A (b) c."},
        {"role": "assistant", "content": "(kept) d"},
        {"role": "user", "content": "Go on."},
    ]
    for messages in (turns, Chat(turns), tuple(turns)):
        assert other.decode(other.encode_prompt(messages)) == (
            "<system>Rhyme.\n\nBe brief.<user>A c.<assistant>(kept) d<user>In verse: Go on.<assistant>"
        )
    assert turns[1]["content"] == "A (b) c.", "what it was given is not changed"
    plain = Prompted(BASE, template="ab {prompt}")
    assert plain.encode_prompt("c") == BASE.encode_prompt("ab c")
    assert plain.encode_prompt(LongPrompt("cd", 62)) == BASE.encode_prompt("cd")  # of a context of 64


def test_context_aware_decoding_is_its_formula():
    """``(1 + α) log p(· | c, x) − α log p(· | x)``, each by one pass over its own text."""
    alpha, guider = 0.7, configured("context_aware", alpha=0.7)
    found = stepped_log_probs(guider, "old this film", TOKENS, length=2)
    with_context, without = (log_probs(BASE, prompt, TOKENS) for prompt in ("old this film", "this film"))
    expected = ((1 + alpha) * with_context - alpha * without).log_softmax(-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    total = expected.gather(-1, torch.tensor(TOKENS)[:, None]).sum()
    assert token_log_probs(guider, [("old this film", TOKENS)])[0].total == pytest.approx(float(total))


@pytest.mark.parametrize("guider", [configured("context_aware", alpha=2.0), configured("cfg", gamma=0.0)])
def test_equal_prompts_or_no_weight_are_the_base(guider):
    prompts = ["nothing to leave out", "q"]
    found, expected = laws.decode(guider, prompts, SAMPLING), laws.decode(Guider(BASE), prompts, SAMPLING)
    assert [one.tokens for one in found] == [one.tokens for one in expected]


def test_classifier_free_guidance_is_transformers_own():
    guider = configured("cfg", gamma=1.5)
    (found,) = laws.decode(guider, ["hello"], Sampling(temperature=0, max_new_tokens=12))
    under = guider.guides[0].tuned.encode_prompt("hello")
    written = BASE.model.generate(
        torch.tensor([under]),
        guidance_scale=1.5,
        negative_prompt_ids=torch.tensor([BASE.encode_prompt("hello")]),
        do_sample=False,
        max_new_tokens=12,
        pad_token_id=0,
    )
    assert list(found.tokens) == written[0, len(under) :].tolist()
    (plain,) = laws.decode(Guider(BASE), ["hello"], Sampling(temperature=0, max_new_tokens=12))
    assert found.tokens != plain.tokens, "a prompt that changes nothing tests nothing"


def test_principle_contrast_is_its_formula():
    found = stepped_log_probs(configured("principle_contrast", weight=0.8), "hello", TOKENS, length=3)
    good, bad = (log_probs(BASE, f"A {word} film. hello", TOKENS) for word in ("wonderful", "dreadful"))
    expected = (log_probs(BASE, "hello", TOKENS) + 0.8 * (good - bad)).log_softmax(-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_self_debias_is_its_formula():
    """``p · exp(λ min(0, p − p_negative))``: what the negative prompt makes less likely keeps its odds."""
    decay = 20.0
    found = stepped_log_probs(configured("self_debias", decay=decay), "hello", TOKENS, length=3).exp()
    p, negative = (log_probs(BASE, prompt, TOKENS).exp() for prompt in ("hello", "A dreadful film. hello"))
    scaled = torch.where(p >= negative, p, p * torch.exp(-decay * (negative - p)))
    torch.testing.assert_close(found, scaled / scaled.sum(-1, keepdim=True), rtol=0, atol=1e-9)
    both_ways = p * torch.exp(decay * (p - negative))  # without the minimum with 0
    assert float((found - both_ways / both_ways.sum(-1, keepdim=True)).abs().max()) > 1e-3
    off = Guider(BASE, SelfDebias(Prompted(BASE, template="c {prompt}"), 0.0))
    same, base = (laws.decode(one, ["hello"], SAMPLING) for one in (off, Guider(BASE)))
    assert same[0].tokens == base[0].tokens


@pytest.mark.parametrize(("name", "settings"), [("cfg", {"gamma": 1.5}), ("self_debias", {"decay": 50.0})])
def test_laws(name, settings):
    models = {**MODELS, "base": ending("llama", 0, {3})}
    laws.check(configured(name, models, **settings), ["ab", "q"], Sampling(max_new_tokens=6, seed=1, temperature=0.9))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Prompted(lm(), template="no place"), "has no place for the prompt"),
        (lambda: Prompted(lm(), without="(a"), "is no regular expression"),
        (lambda: Prompted(lm(), system="Rhyme."), "no chat template"),
        (lambda: Prompted(chat(WITHOUT), system="Rhyme."), "has no system role"),
        (lambda: Prompted(chat(REFUSING), system="Rhyme."), "System role not supported"),
        (lambda: SelfDebias(lm(), -1.0), "out of range"),
        (lambda: SelfDebias(lm(), float("nan")), "out of range"),
    ],
)
def test_bad_settings_are_one_line(make, message):
    with pytest.raises(GuiderError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
