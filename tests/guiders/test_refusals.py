"""What can't be decoded is named in one line, before or instead of wrong text."""

import copy
from functools import partial

import pytest
import torch
from tiny_models import END, VOCAB, byte_lm, lm, value, words
from transformers import AutoModelForCausalLM, GPT2Config, GPT2ForSequenceClassification, Phi3Config

from guiders import (
    LM,
    BestOfN,
    ChunkBeam,
    Classifier,
    Explicit,
    Guider,
    GuiderError,
    Implicit,
    ImplicitValue,
    ReleasedChunkBeam,
    Sample,
    Sampling,
    generate,
    token_log_probs,
)
from guiders.decoding.stops import whole_characters
from guiders.laws import decode
from guiders.laws.oracle import naive_generate
from guiders.models.value_model import ValueModel
from guiders.value import Chunk, Reward

torch.set_num_threads(1)
PAIR = (lm(seed=1), lm(seed=2))
FEW = Sampling(max_new_tokens=4)
BEAM = ChunkBeam(2, 2, 2)


def without_numbers() -> LM:
    """A model whose head is NaN, and which has passed its self-check as it was before."""
    model = copy.deepcopy(lm().model)
    model.lm_head.weight = torch.nn.Parameter(torch.full_like(model.lm_head.weight, torch.nan))
    made = LM(model, words(), name="broken")
    made.checked = True
    return made


@pytest.mark.parametrize("temperature", [0, 1.0])
@pytest.mark.parametrize("value_", [None, ImplicitValue(*PAIR)])
def test_logits_that_are_not_numbers(temperature, value_):
    search = Sample() if value_ is None else BEAM
    guider = Guider(without_numbers(), Implicit(*PAIR), value_, search)
    with pytest.raises(GuiderError, match="logits of broken are not numbers"):
        decode(guider, ["ab"], Sampling(temperature, max_new_tokens=4))


def test_the_self_check_says_that_logits_are_not_numbers():
    broken = without_numbers()
    broken.checked = False
    with pytest.raises(GuiderError, match="the logits of broken are not numbers"):
        decode(Guider(broken), ["ab"], FEW)


def test_values_that_are_not_numbers():
    model = copy.deepcopy(value())
    torch.nn.init.constant_(model.model.score_head.weight, torch.nan)
    model.checked = True
    with pytest.raises(GuiderError, match="a value of Explicit is not a number"):
        decode(Guider(lm(), None, Explicit(model), BEAM), ["ab"], FEW)


@pytest.mark.parametrize(
    ("guider", "said"),
    [
        (lambda: Guider(lm(), None, Explicit(lm()), BEAM), "has no value head"),
        (lambda: Guider(lm(), Implicit(value(), lm())), "is a value model"),
        (lambda: Guider(value()), "is a value model"),
        (lambda: Guider(lm(), None, ImplicitValue(lm(), value()), BEAM), "is a value model"),
    ],
)
def test_models_of_the_wrong_kind(guider, said):
    with pytest.raises(GuiderError, match=said):
        decode(guider(), ["ab"], FEW)


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ("abc", "single text"),
        ([None], "NoneType is no prompt"),
        ([3], "int is no prompt"),
        ([b"ab"], "bytes is no prompt"),
        ([{"role": "user", "content": "a"}], "dict is no prompt"),
        ([["ab", "c"]], "a list with 'ab' in it is no prompt"),
        ([[[1, 2], [3]]], r"a list with \[1, 2\] in it is no prompt"),
        ([[1, 2.5]], "a list with 2.5 in it is no prompt"),
        ([[1, None]], "a list with None in it is no prompt"),
        ([torch.tensor([[1, 2]])], "Tensor is no prompt"),
        ([["a", {"role": "user", "content": "b"}]], "a list with 'a' in it is no prompt"),
        ([[{"role": "user", "content": None}]], "has no text as its content"),
        ([[{"role": "user"}]], "has no text as its content"),
        ([[{"content": "a"}]], "has no text as its role"),
        ([[{"role": "user", "content": "a"}, "b"]], "the message 'b' has no text as its role"),
        (["a", "b\ud83d"], r"'b.ud83d' holds half of a surrogate pair at character 1"),
        ([[{"role": "user", "content": "\udc00"}]], "half of a surrogate pair at character 0"),
        ([[1, VOCAB]], f"prompt 0 has the id {VOCAB}"),
        (["a", [-1]], "prompt 1 has the id -1"),
    ],
)
def test_what_is_no_prompt(prompts, said):
    with pytest.raises(GuiderError, match=said):
        list(generate(Guider(lm()), prompts, FEW))


def test_whole_surrogate_pairs_and_arrays_are_prompts():
    found = decode(Guider(lm()), ["a\U0001f600", torch.tensor([1, 2]), torch.tensor([1, 2]).numpy(), (1, 2)], FEW)
    assert [one.tokens for one in found[2:]] == [found[1].tokens] * 2


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"base": "x"}, "base is given a str"),
        ({"base": None}, "base is given a NoneType"),
        ({"token": "x"}, "token is given a str"),
        ({"token": [Implicit("x", "y")]}, "token Implicit is given a str"),
        ({"token": Implicit}, "token is given the class Implicit"),
        ({"value": object(), "search": BEAM}, "value is given a object, which lacks 'scorer'"),
        ({"value": Explicit, "search": BEAM}, "value is given the class Explicit"),
        ({"value": Explicit("x"), "search": BEAM}, "value Explicit is given a str"),
        ({"search": "x"}, "search is given a str, which lacks 'survivors'"),
    ],
)
def test_parts_that_are_none(parts, said):
    with pytest.raises(GuiderError, match=said) as error:
        Guider(**{"base": lm(), **parts})
    assert "\n" not in str(error.value)


def narrow(kind: str) -> LM:
    """A model with the tokenizer of `words`, and a table of only the letters a to d."""
    torch.manual_seed(0)
    config = GPT2Config(n_embd=16, n_layer=1, n_head=4, n_positions=64, vocab_size=4, eos_token_id=None)
    if kind == "lm":
        return LM(AutoModelForCausalLM.from_config(config).double().eval(), words(), name="narrow")
    return LM(ValueModel.from_config(config).double().eval(), other_words(), name="narrow")


def other_words():
    """As `words`, with another name for the end of text: not the base's vocabulary, so that text is scored."""
    tokenizer = copy.deepcopy(words())
    tokenizer.add_special_tokens({"eos_token": "<over>"})
    return tokenizer


@pytest.mark.parametrize(
    ("guider", "prompt"),
    [
        (lambda: Guider(lm(), None, Explicit(narrow("value")), ChunkBeam(2, 2, 8)), "ag"),
        (lambda: Guider(lm(), None, Explicit(narrow("value")), ChunkBeam(2, 2, 8)), "ab"),  # the response's own text
        (lambda: Guider(lm(), None, ImplicitValue(narrow("lm"), narrow("lm")), ChunkBeam(2, 2, 8)), "ag"),
        (lambda: Guider(lm(), Implicit(narrow("lm"), narrow("lm"))), "ag"),
        (lambda: Guider(lm(), None, Reward(narrow_classifier()), BestOfN(4)), "ag"),
        (lambda: Guider(lm(), None, Reward(narrow_classifier()), BestOfN(4)), "ab"),
    ],
)
def test_a_table_that_is_narrower_than_its_tokenizer(guider, prompt):
    """The text's ids run past the table: an index error of torch is no answer."""
    with pytest.raises(GuiderError, match="narrow: its tokenizer gives the id") as error:
        decode(guider(), [prompt], Sampling(max_new_tokens=24))
    assert "\n" not in str(error.value)


def narrow_classifier() -> Classifier:
    config = GPT2Config(n_embd=16, n_layer=1, n_head=4, n_positions=64, vocab_size=4, num_labels=1)
    return Classifier(GPT2ForSequenceClassification(config).eval(), other_words(), name="narrow")


@pytest.mark.parametrize("cut", [0, 4, 100, 0.5, 0.999])
@pytest.mark.parametrize("kind", ["lm", "value", "classifier"])
def test_truncated_weights_are_named(kind, cut, tmp_path):
    model = {"lm": lm, "value": value, "classifier": narrow_classifier}[kind]()
    save = model.model.save if kind == "value" else model.model.save_pretrained
    save(tmp_path)
    words().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: cut if isinstance(cut, int) else int(cut * len(whole))])
    load = Classifier.load if kind == "classifier" else partial(LM.load, head=kind)
    with pytest.raises(GuiderError, match="truncated or damaged") as error:
        load(str(tmp_path)).model  # noqa: B018  (reads the weights)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_continuations_outside_of_the_vocabulary():
    with pytest.raises(GuiderError, match="continuation 1 has an id outside"):
        token_log_probs(Guider(lm()), [("a", [1]), ("a", [VOCAB])])


def test_the_released_search_needs_an_end_token():
    tokenizer = copy.deepcopy(words())
    tokenizer.eos_token = None
    with pytest.raises(GuiderError, match="ReleasedChunkBeam scores an end token"):
        Guider(LM(lm().model, tokenizer), None, ImplicitValue(*PAIR), ReleasedChunkBeam())


@pytest.mark.parametrize("value_", [Explicit(value()), Explicit(value("gpt2", "vocab")), ImplicitValue(*PAIR)])
def test_a_base_with_a_wider_table_draws_what_its_value_can_read(value_):
    """Tables are padded to round numbers, and not to the same."""
    torch.manual_seed(0)
    config = GPT2Config(n_embd=16, n_layer=2, n_head=4, n_positions=64, vocab_size=40, eos_token_id=END)
    base = LM(AutoModelForCausalLM.from_config(config).double().eval(), words(), name="wide")
    guider = Guider(base, None, value_, BEAM)
    found, oracle = decode(guider, ["ab", "c"], FEW), naive_generate(guider, ["ab", "c"], FEW)
    assert [g.tokens for g in found] == [g.tokens for g in oracle]
    assert max(token for g in found for token in g.tokens) < VOCAB


def test_a_text_value_scores_rows_that_have_no_text_yet():
    """A response that is still inside its first character, beside one that is not."""
    guider = Guider(byte_lm(), None, Explicit(value()), ChunkBeam(1, 2, 2))
    scorer = guider.value.scorer(guider, 1, 2)
    euro, ab = guider.base.tokenizer("€")["input_ids"][:2], guider.base.tokenizer("ab")["input_ids"]

    def scored(*rows):
        scorer.admit([0], ["q"])
        counts = torch.full((1, 1, 2), 2)
        zero = torch.zeros(1, 1, dtype=torch.float64)
        text = partial(whole_characters, guider.base, stops=())
        chunk = Chunk(torch.tensor([[rows]]), counts, counts < 0, zero, None, lambda: [list(rows)], text)
        with torch.inference_mode():
            return scorer.score(chunk).flatten().tolist()

    first, second = scored(euro, ab)
    assert [second, first] == pytest.approx(scored(ab, euro))
    assert first != second


@pytest.mark.parametrize("form", [tuple, torch.tensor])
def test_a_text_value_reads_ids_in_any_form(form):
    guider = Guider(lm(), None, Explicit(value(tokenizer="bytes")), BEAM)
    (one,), (other,) = decode(guider, [[1, 2, 3]], FEW), decode(guider, [form([1, 2, 3])], FEW)
    assert (one.tokens, one.value) == (other.tokens, other.value)


def test_weights_that_are_first_read_while_scoring_can_be_trained():
    config = GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=VOCAB)
    late = LM(lambda: AutoModelForCausalLM.from_config(config), words())
    token_log_probs(Guider(late), [("ab", [1])])
    ids = torch.tensor([[1, 2, 3]])
    late.model(input_ids=ids, labels=ids).loss.backward()
    assert all(parameter.grad is not None for parameter in late.model.parameters())


def test_positions_that_depend_on_the_batch_end_where_they_begin_to():
    """Phi-3's long texts are turned by other angles than its short ones, and a pass is turned as one."""
    torch.manual_seed(0)
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 2, "long_factor": [3.0] * 2}
    config = Phi3Config(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=96,
        original_max_position_embeddings=16,
        rope_parameters={**rope, "original_max_position_embeddings": 16},
        pad_token_id=None,
        bos_token_id=END,
        eos_token_id=END,
    )
    model = LM(AutoModelForCausalLM.from_config(config).double().eval(), words(), name="long")
    assert model.max_length == 16
    with pytest.raises(GuiderError, match="a context of 16"):
        decode(Guider(model), ["ab", "a" * 34], FEW)


def test_the_beam_forgets_the_length_of_those_who_left():
    """Forty prompts after one another in one slot: the table of tokens stays as wide as one response."""
    from collections import deque

    from guiders.decoding.decoder import Decoder, Request

    base = lm()
    waiting = deque(Request(i, [1 + i % 5], [1 + i % 5], 8) for i in range(40))
    decoder = Decoder(Guider(base), Sampling(max_new_tokens=8), 1, 4)
    assert len(list(decoder.run(waiting))) == 40
    assert decoder.beam.tokens.shape[-1] <= 8 + 4
