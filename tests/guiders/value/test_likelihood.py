"""Likelihood as a value: a closed form on tables, transformers' own loss on models."""

import math
from collections import Counter

import pytest
import torch
from tables import log_p, prompts, responses, table
from tiny_models import END, VOCAB, byte_lm, lm, words

from guiders import LM, BestOfN, ChunkBeam, Guider, GuiderError, Likelihood, Sampling, generate
from guiders.laws import check, follows

torch.set_num_threads(1)


def sharpened(n: int) -> dict:
    """The law of the most likely of n draws: P(y) = F(y)^n − F(y⁻)^n, F the distribution function over likelihoods."""
    base = table(3)
    odds = {tokens: math.exp(log_p(base, [3, 3, 3, 3, 0], tokens)) for tokens in responses(2)}
    law, below = {}, 0.0
    for tokens in sorted(odds, key=lambda one: odds[one]):
        law[tokens] = (below + odds[tokens]) ** n - below**n
        below += odds[tokens]
    return law


def test_sharpening_follows_its_closed_form_and_tends_to_the_mode():
    base = table(3)
    found = {
        n: Counter(
            one.tokens
            for one in generate(
                Guider(base, value=Likelihood(base), search=BestOfN(n)),
                prompts(1500),
                Sampling(max_new_tokens=2, seed=5),
            )
        )
        for n in (3, 32)
    }
    follows(found[3], sharpened(3))
    with pytest.raises(AssertionError, match="chi-square"):  # a wrong variant: two draws, not three
        follows(found[3], sharpened(2))
    mode = max(responses(2), key=lambda tokens: log_p(base, [3, 3, 3, 3, 0], tokens))
    assert found[32][mode] / 1500 == pytest.approx(sharpened(32)[mode], abs=0.04)


def test_the_mean_is_of_tokens_and_chunk_by_chunk():
    base, judge = table(1), table(2)
    guider = Guider(base, value=Likelihood(judge, reduce="mean"), search=ChunkBeam(2, 3, 2))
    for one in generate(guider, prompts(20), Sampling(max_new_tokens=7, seed=1)):
        tokens = list(one.tokens)
        assert one.value == pytest.approx(log_p(judge, prompts(20)[one.index], tokens) / len(tokens), abs=1e-9)


def loss(model: LM, before: list[int], text: list[int]) -> torch.Tensor:
    """Minus the mean log-probability of the text's tokens, by transformers."""
    labels = torch.tensor([[-100] * len(before) + text])
    return model.model(input_ids=torch.tensor([before + text]), labels=labels).loss.detach()


@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_the_likelihood_of_the_prompt_is_transformers_loss(reduce):
    """Time-reversed: the prompt's tokens, after a template with the response."""
    base, judge = lm("gpt2", 0, 1.0), lm("llama", 4)
    value = Likelihood(judge, of="prompt", template="ab {response} c", reduce=reduce)
    guider = Guider(base, value=value, search=BestOfN(3))
    for one in generate(guider, ["hat", "dog eats"], Sampling(max_new_tokens=6, seed=2)):
        prompt = ["hat", "dog eats"][one.index]
        before, asked = words()(f"ab {one.text} c")["input_ids"], words()(prompt)["input_ids"]
        scale = len(asked) if reduce == "sum" else 1
        assert one.value == pytest.approx(
            -scale * float(loss(judge, before, asked)), rel=1e-6
        )  # its loss is in float32


def test_time_reversal_picks_the_response_that_makes_the_prompt_most_likely():
    """Of all rows of best-of-N, the one of highest p(x|y) on a table, whatever p(y|x) says."""
    base, judge = table(1), table(6, range(VOCAB))
    value = Likelihood(judge, of="prompt", template="{response}")
    guider = Guider(base, value=value, search=BestOfN(8))
    asked = [base.decode(p) for p in prompts(12)]
    for one in generate(guider, asked, Sampling(max_new_tokens=5, seed=3), trace=True):
        ids = words()(asked[one.index])["input_ids"]
        rows = {h["text"] for h in one.trace["chunks"][-1]["hypotheses"]} | {one.text}

        def score(text, ids=ids):
            return log_p(judge, words()(text)["input_ids"] or [END], ids)

        if all(rows):  # an empty response is read as the start token
            assert score(one.text) == pytest.approx(max(map(score, rows)), abs=1e-9)
        assert one.value == pytest.approx(score(one.text), abs=1e-9)


def test_follow_ups_for_and_against_are_a_difference_of_means():
    base, judge = lm("gpt2", 0, 1.0), lm("llama", 4)
    good, bad = ("abc", "fun"), ("no",)
    value = Likelihood(judge, of="text", template="{prompt}|{response}", texts=good, against=bad, reduce="mean")
    for one in generate(Guider(base, value=value, search=BestOfN(2)), ["hat"], Sampling(max_new_tokens=5, seed=2)):
        before = words()(f"hat|{one.text}")["input_ids"]
        likely = [-float(loss(judge, before, words()(text)["input_ids"])) for text in (*good, *bad)]
        assert one.value == pytest.approx(sum(likely[:2]) / 2 - likely[2], rel=1e-6)  # its loss is in float32
    same = Likelihood(judge, of="text", texts=good, against=good)
    guider = Guider(base, value=same, search=BestOfN(3))
    assert [one.value for one in generate(guider, ["hat"], Sampling(max_new_tokens=5))] == [pytest.approx(0, abs=1e-12)]


@pytest.mark.parametrize(
    "value",
    [
        Likelihood(lm("llama", 4)),
        Likelihood(lm("llama", 4), reduce="mean"),
        Likelihood(byte_lm(), reduce="mean"),
        Likelihood(lm("llama", 4), of="prompt"),
        Likelihood(byte_lm(), of="text", template="{prompt} - {response}?", texts=("yes", "oui"), against="no"),
    ],
    ids=["response", "mean", "other tokens", "prompt", "text"],
)
def test_laws(value):
    guider = Guider(lm("gpt2", 0, 1.0), value=value, search=ChunkBeam(2, 2, 3))
    check(guider, ["hat", "a dog"], Sampling(max_new_tokens=8, seed=3))


def test_passes_are_those_that_the_method_needs():
    """The base reads each response anyhow: its likelihood needs nothing more. Another model reads all tokens but each
    row's last; follow-ups read every text whole, but for its last token."""
    base = lm("gpt2", 0, 0.3)
    never = LM(base.model, base.tokenizer, name="never")
    never.__dict__["eos_ids"] = ()
    asked = Sampling(max_new_tokens=6)
    alone = 4 * 5

    def needed(value):
        (one,) = generate(Guider(never, value=value, search=BestOfN(4)), ["hat"], asked)
        return one.forward_passes, one.computed_passes

    assert needed(Likelihood(never))[0] == alone
    assert needed(Likelihood(never))[1] > alone
    assert needed(Likelihood(lm("llama", 4)))[0] == alone + 4 * 5
    follow = Likelihood(lm("llama", 4), of="text", template="{response}", texts=("abc", "no"))
    assert needed(follow)[0] == alone + 4 * (6 + 3 - 1 + 6 + 2 - 1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"of": "both"}, "of='both' is unknown"),
        ({"reduce": "max"}, "reduce='max' is unknown"),
        ({"of": "prompt", "template": "what?"}, "lacks {response}"),
        ({"template": "{response}"}, "of=response reads no template"),
        ({"of": "text"}, "set texts"),
        ({"texts": "yes"}, "set of=text"),
        ({"of": "text", "texts": ["yes", ""]}, "empty text"),
    ],
)
def test_settings_out_of_range_are_one_line(settings, said):
    with pytest.raises(GuiderError, match=said) as caught:
        Likelihood(lm(), **settings)
    assert "\n" not in str(caught.value)


def test_a_text_model_without_such_a_prompt_is_one_line():
    chatty = LM(lm().model, words(), template="chat", name="chatty")
    for value, asked, said in (
        (Likelihood(chatty, of="text", texts="yes"), "hat", "chatty has no chat template"),
        (Likelihood(lm(), of="prompt"), "", "the prompt is empty"),
    ):
        with pytest.raises(GuiderError, match=said) as caught:
            list(generate(Guider(lm(), value=value, search=BestOfN(2)), [asked], Sampling(max_new_tokens=3)))
        assert "\n" not in str(caught.value)
