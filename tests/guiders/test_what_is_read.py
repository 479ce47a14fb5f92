"""Every model reads a prompt with one start token, and a value on text what the user sees, token for token."""

import pytest
import torch
from tiny_models import CONTEXT, lm, sharpened, value
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModel, AutoModelForCausalLM, GPT2Config, GPT2ForSequenceClassification
from transformers import PreTrainedTokenizerFast as Fast

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
    Reward,
    Sampling,
    generate,
)
from guiders.laws import decode
from guiders.laws.oracle import naive_generate
from guiders.models.prompt import Chat
from guiders.models.value_model import ValueModel
from guiders.value.text import TAIL, continued

torch.set_num_threads(1)
PROMPTS = ["ab", "hello there", "q", "a fox jumps", "de", "ff g"]
STOPS = ("b", "a f", "ge")


def with_start(scheme: str = "first") -> Fast:
    """SentencePiece's kind: one character, one token; "▁" before the text, and ``<s>`` before that."""
    letters = {token: i for i, token in enumerate(["<unk>", "<s>", "</s>", "<stop>", "▁", *map(chr, range(97, 123))])}
    core = Tokenizer(models.BPE(letters, [], unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    core.decoder = decoders.Metaspace(prepend_scheme=scheme)
    core.add_special_tokens([AddedToken(token, special=True) for token in ("<s>", "</s>", "<stop>")])
    core.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
    return Fast(tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def sized(tokenizer: Fast, context: int = CONTEXT) -> GPT2Config:
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    return GPT2Config(n_embd=16, n_layer=2, n_head=4, n_positions=context, vocab_size=len(tokenizer), **ids)


def causal(seed: int = 0, tokenizer: Fast | None = None, **options) -> LM:
    tokenizer = tokenizer or with_start()
    model = sharpened(AutoModelForCausalLM.from_config(sized(tokenizer)), seed, 0.3)
    return LM(model, tokenizer, name=f"start-{seed}", **options)


def scored(tokenizer: Fast, kind: str = "scalar", context: int = CONTEXT) -> LM:
    config = sized(tokenizer, context)
    head = torch.nn.Linear(16, 1 if kind == "scalar" else len(tokenizer), bias=kind == "scalar")
    model = ValueModel(AutoModel.from_config(config), head)
    return LM(sharpened(model, 7, 0.3), tokenizer, name="on-text")


@pytest.mark.parametrize(("prompt", "template"), [("<s>ab", None), ("<s>ab", "{prompt}"), ("ab", "<s>{prompt}")])
def test_a_start_token_is_read_once(prompt, template):
    one = causal(template=template)
    assert one.encode_prompt(prompt) == [1, *one.tokenizer.convert_tokens_to_ids(["a", "b"])]
    assert one.encode_prompt("ab")[:1] == [1]


@pytest.mark.parametrize("writes", ["<s>", ""])
def test_a_chat_of_lm_eval_has_one_start_token(writes):
    """transformers adds nothing to what a template writes; lm-eval's ``hf`` tokenises it as a text."""
    one = causal(template=writes + "{% for m in messages %}{{ m.content }}{% endfor %}")
    messages = [{"role": "user", "content": "ab"}]
    assert one.encode_prompt(Chat(messages)).count(1) == 1
    assert one.encode_prompt(messages).count(1) == (1 if writes else 0)


def test_a_classifier_reads_one_start_token():
    tokenizer = with_start()
    model = GPT2ForSequenceClassification(sized(tokenizer))
    judge = Classifier(model, tokenizer, template="<s>{prompt}{response}")
    assert judge._input("ab", "c")[:2].count(1) == 1
    pair = Classifier(model, tokenizer)
    assert pair._input("<s>ab", "c")[:2].count(1) == 1


@pytest.mark.parametrize(
    "stops", [("<stop>",), ("<stop>", "q"), tuple(f"{x}<stop>" for x in "abcdefghijklmnopqrstuvwxyz ")]
)
@pytest.mark.parametrize("search", [None, ChunkBeam(2, 2, 3)])
def test_special_stop_strings_stop(stops, search):
    """As in lm-eval's ``hf``: the text that is searched keeps special tokens, the text that is given does not."""
    base = causal()
    base.model.lm_head.weight.data[3] *= 3  # <stop> is often drawn
    guider = Guider(base) if search is None else Guider(base, value=ImplicitValue(*PAIR), search=search)
    sampling, stopped = Sampling(max_new_tokens=20, seed=1, temperature=1.5, stop=stops), 0
    found = decode(guider, PROMPTS * 4, sampling)
    for one, other in zip(found, naive_generate(guider, PROMPTS * 4, sampling), strict=True):
        assert (one.tokens, one.text, one.finish_reason) == (other.tokens, other.text, other.finish_reason)
        kept = base.tokenizer.decode(one.tokens)
        assert not any(stop in base.tokenizer.decode(one.tokens[:-1]) for stop in stops)
        assert (one.finish_reason == "stop") == any(stop in kept for stop in stops)
        assert "<stop>" not in one.text
        stopped += one.finish_reason == "stop" and "<stop>" in kept
    assert stopped


PAIR = (causal(3), causal(4))


@pytest.mark.parametrize("kind", ["scalar", "vocab", "implicit", "reward"])
@pytest.mark.parametrize("search", [BestOfN(4), ChunkBeam(2, 2, 4)])
def test_a_value_on_text_scores_what_the_user_sees(kind, search):
    """The response without its stop string, in the value's tokens of prompt and response as one text."""
    tokenizer, base = with_start(), lm("llama", 0, 0.5)
    if kind == "implicit":
        scoring = ImplicitValue(*PAIR)
    elif kind == "reward":
        model = sharpened(
            GPT2ForSequenceClassification(GPT2Config(**sized(tokenizer).to_dict() | {"num_labels": 1})), 2, 0.3
        )
        scoring = Reward(Classifier(model, tokenizer, template="{prompt}{response}"))
    else:
        scoring = Explicit(scored(tokenizer, kind))
    guider, stopped = Guider(base, value=scoring, search=search), 0
    for one in decode(guider, PROMPTS, Sampling(max_new_tokens=14, seed=2, stop=STOPS)):
        prompt = PROMPTS[one.index]
        stopped += one.finish_reason == "stop"
        ended = [2] if one.finish_reason != "length" and kind != "reward" else []
        ids = torch.tensor([tokenizer(prompt + one.text)["input_ids"] + ended])
        start = len(tokenizer(prompt)["input_ids"])
        with torch.inference_mode():
            if kind == "reward":
                expected = model(ids).logits[0, 0]
            elif kind == "implicit":
                tuned, untuned = (m.model(ids).logits[0, :-1].log_softmax(-1) for m in PAIR)
                expected = (tuned - untuned).gather(-1, ids[0, 1:, None])[start - 1 :].sum()
            else:
                logits = scoring.model.model(input_ids=ids).logits[0]
                expected = logits[-1, 0] if kind == "scalar" else logits[-2, ids[0, -1]]
        assert one.value == pytest.approx(float(expected), abs=1e-6)
    assert stopped


@pytest.mark.parametrize("kind", ["scalar", "vocab", "implicit"])
def test_a_text_longer_than_the_values_context_loses_its_beginning(kind):
    """Bytes are longer than letters: the response outgrows the value's context, and the search goes on."""
    short = 24
    if kind == "implicit":
        tokenizer = with_start()
        models_ = [sharpened(AutoModelForCausalLM.from_config(sized(tokenizer, short)), seed, 0.3) for seed in (3, 4)]
        scoring = ImplicitValue(*(LM(model, tokenizer) for model in models_))
    else:
        tokenizer = with_start()
        scoring = Explicit(scored(tokenizer, kind, short))
        models_ = [scoring.model.model]
    guider, long = Guider(lm("llama", 0, 0.5), value=scoring, search=ChunkBeam(2, 2, 4)), 0
    for one in decode(guider, PROMPTS, Sampling(max_new_tokens=30, seed=2)):
        prompt = tokenizer(PROMPTS[one.index])["input_ids"]
        whole = tokenizer(PROMPTS[one.index] + one.text)["input_ids"] + [2] * (one.finish_reason != "length")
        ids, long = torch.tensor([whole[-short:]]), long + (len(whole) > short)
        response = min(len(whole) - len(prompt), short - 1)
        with torch.inference_mode():
            logits = [model(input_ids=ids).logits[0] for model in models_]
        if kind == "implicit":
            tuned, untuned = (x[:-1].log_softmax(-1) for x in logits)
            expected = (tuned - untuned).gather(-1, ids[0, 1:, None])[-response:].sum()
        else:
            expected = logits[0][-1, 0] if kind == "scalar" else logits[0][-2, ids[0, -1]]
        assert one.value == pytest.approx(float(expected), abs=1e-6)
    assert long


@pytest.mark.parametrize("scoring", ["none", "pair", "scalar", "bytes"])
def test_long_prompts_lose_their_beginning(scoring):
    """The answer is the one to the end of the prompt, for each model as much as leaves room for the limit."""
    base, tuned, untuned = lm("llama", 0), lm("gpt2", 3), lm("gpt2", 4)
    values = {
        "none": {},
        "pair": {"value": ImplicitValue(lm("mistral", 5), lm("mistral", 6)), "search": ChunkBeam(2, 2, 3)},
        "scalar": {"value": Explicit(value()), "search": ChunkBeam(2, 2, 3)},
        "bytes": {"value": Explicit(value(tokenizer="bytes")), "search": ChunkBeam(2, 2, 3)},
    }
    guider = Guider(base, Implicit(tuned, untuned, 1.0), **values[scoring])
    sampling = Sampling(max_new_tokens=12, seed=3)
    asked = ["abcde fgh " * 9, "ab", "b" * 52, "b" * 53]
    found = decode(guider, asked, sampling, on_long_prompt="truncate")
    assert [one.truncated for one in found] == [90 - 52, 0, 0, 1]
    expected = decode(guider, [prompt[-52:] for prompt in asked], sampling)
    assert [(one.tokens, one.value) for one in found] == [(one.tokens, pytest.approx(one.value)) for one in expected]
    assert {len(one.tokens) for one in expected if one.finish_reason == "length"} == {12}


def test_all_prompts_that_are_too_long_are_named_before_anything_is_decoded(monkeypatch):
    base = lm("gpt2", 0)
    monkeypatch.setattr(base.model, "forward", lambda *a, **k: pytest.fail("something was decoded"))
    asked = ["a", "b" * 64, "c" * 63, "d" * 70]
    with pytest.raises(GuiderError, match=r"^prompt 1 has 64 tokens, prompt 3 has 70 tokens and gpt2-0 a con"):
        list(generate(Guider(base), asked, Sampling(max_new_tokens=2)))
    on_text = Guider(base, value=Explicit(value(tokenizer="bytes")), search=BestOfN(2))
    with pytest.raises(GuiderError, match=r"prompt 1 has 64 tokens"):
        list(generate(on_text, asked, Sampling(max_new_tokens=2)))
    with pytest.raises(GuiderError, match=r"max_new_tokens=64 .*lower it"):
        list(generate(Guider(base), asked, Sampling(max_new_tokens=64), on_long_prompt="truncate"))
    with pytest.raises(GuiderError, match="on_long_prompt='cut' is unknown"):
        list(generate(Guider(base), asked, on_long_prompt="cut"))


def test_a_response_cut_from_its_prompt_has_its_own_characters():
    """Wherever a text is cut in two, the second part's tokens spell it, without a space that is not there."""
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    text = "she watched the watch and the water that she wanted"
    trainer = trainers.BpeTrainer(vocab_size=60, show_progress=False, special_tokens=["<unk>"])
    core.train_from_iterator([text, "\n"], trainer)
    reader = LM(None, Fast(tokenizer_object=core, unk_token="<unk>"))
    for at in range(1, len(text)):
        ids = continued(reader, text[:at][-TAIL:], text[at:])
        assert "".join(reader.tokenizer.convert_ids_to_tokens(ids)).replace("▁", " ") == text[at:]
    assert continued(reader, "", text) == reader.tokenizer(text)["input_ids"]
