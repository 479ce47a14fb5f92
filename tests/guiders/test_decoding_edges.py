"""Where decoders go wrong: ends, limits, stop strings, pads, characters of several bytes, memory that runs out."""

from itertools import pairwise

import pytest
import torch
from tiny_models import END, byte_lm, lm, value
from transformers import AutoModelForCausalLM, BloomConfig, GPT2Config, MambaConfig

from guiders import (
    LM,
    ChunkBeam,
    Explicit,
    Guider,
    GuiderError,
    Implicit,
    ImplicitValue,
    ReleasedChunkBeam,
    Sampling,
    generate,
    token_log_probs,
)
from guiders.kv.self_check import check_cacheable
from guiders.laws import decode, whole_value
from guiders.laws.oracle import naive_generate

torch.set_num_threads(1)
PROMPTS = ["ab", "hello there", "q", "a fox jumps", "de", "ff g"]
PAIR = (lm("gpt2", 3), lm("gpt2", 4))


def often_ending(ends=(0, 4, 8, 12)) -> LM:
    made = lm("llama", 0, 0.5)
    base = LM(made.model, made.tokenizer, name=made.name)
    base.__dict__["eos_ids"] = (*ends, END)
    return base


def searching(search=ChunkBeam) -> Guider:
    return Guider(often_ending(), value=ImplicitValue(*PAIR), search=search(2, 3, 3))


def copies_of_ended(generation):
    """(ended hypotheses that survived a boundary, the rows they have at the next), over all boundaries."""
    chunks = generation.trace["chunks"]
    for before, after in pairwise(chunks):
        carried = [h["text"] for h in before["hypotheses"] if h["kept"] and h["ended"]]
        going = sum(h["kept"] for h in before["hypotheses"]) - len(carried)
        yield len(carried), going, len(after["hypotheses"])


def test_an_ended_hypothesis_takes_one_slot():
    seen = 0
    for generation in decode(searching(), PROMPTS, Sampling(max_new_tokens=15, seed=2), trace=True):
        for ended, going, rows in copies_of_ended(generation):
            assert rows == ended + 3 * going
            seen += ended
    assert seen, "no hypothesis ended before its search did"


def test_the_released_search_copies_ended_hypotheses():
    """The authors' code gives an ended hypothesis K rows, and its copies then fill the beam: the search ends early."""
    sampling, seen = Sampling(max_new_tokens=15, seed=2), 0
    released = decode(searching(ReleasedChunkBeam), PROMPTS, sampling, trace=True)
    for generation in released:
        for ended, going, rows in copies_of_ended(generation):
            assert rows == 3 * (ended + going)
            seen += ended
    assert seen
    ours = decode(searching(), PROMPTS, sampling, trace=True)
    assert any(a.tokens != b.tokens for a, b in zip(ours, released, strict=True))
    # where an ended hypothesis led, its copies have crowded everything else out at the next boundary
    for generation in released:
        chunks = generation.trace["chunks"]
        for before, after in pairwise(chunks):
            kept = [h for h in before["hypotheses"] if h["kept"]]
            best = max(kept, key=lambda h: h["value"])
            new = [h["value"] for h in after["hypotheses"] if h["text"] != best["text"]]
            if best["ended"] and max(new, default=-1e9) < best["value"]:
                assert {h["text"] for h in after["hypotheses"] if h["kept"]} == {best["text"]}


@pytest.mark.parametrize("kind", ["implicit", "scalar", "vocab"])
def test_a_cut_response_is_scored_as_it_is(kind):
    """Ours: without an end. The released search: as if an end token had followed."""
    scored = ImplicitValue(*PAIR) if kind == "implicit" else Explicit(value("gpt2", kind))
    sampling, cuts = Sampling(max_new_tokens=4, seed=1), 0
    for released in (False, True):
        guider = Guider(
            lm("llama", 0, 0.5), value=scored, search=(ReleasedChunkBeam if released else ChunkBeam)(2, 2, 3)
        )
        for generation in decode(guider, PROMPTS, sampling):
            if generation.finish_reason == "length":
                cuts += 1
                assert END not in generation.tokens
                scored_tokens = [*generation.tokens, END] if released else list(generation.tokens)
                expected = whole_value(guider, PROMPTS[generation.index], scored_tokens, released)
                assert generation.value == pytest.approx(expected, abs=1e-6)
    assert cuts > 4


def test_stop_strings_end_where_they_end():
    """A string that spans tokens ends the row at its last token, is cut from the text, and the limit still holds."""
    stops = ("ab", "f g", "c", "e")
    sampling = Sampling(max_new_tokens=17, seed=5, stop=stops)
    reasons = set()
    base = lm("llama", 0, 0.5)
    for search in (None, ChunkBeam(2, 2, 4)):
        guider = Guider(base) if search is None else Guider(base, value=ImplicitValue(*PAIR), search=search)
        for generation in decode(guider, PROMPTS, sampling):
            reasons.add(generation.finish_reason)
            assert len(generation.tokens) <= 17
            assert not any(stop in generation.text for stop in stops)
            whole = base.decode(list(generation.tokens))
            if generation.finish_reason == "stop":
                assert whole.endswith(stops)
                assert whole[: len(generation.text)] == generation.text
            else:
                assert whole == generation.text
    assert "stop" in reasons


def test_a_pad_id_inside_a_prompt_is_a_token():
    base = lm("gpt2", 0, 1.0)
    base.tokenizer.pad_token = "a"  # id 0, with which shorter prompts are filled up
    try:
        prompts = [[0, 5, 0], [0, 0, 0, 0, 0, 0, 0], [5, 0], [5]]
        guider = Guider(base, token=Implicit(*PAIR), value=ImplicitValue(*PAIR), search=ChunkBeam(2, 2, 3))
        sampling = Sampling(max_new_tokens=9, seed=1)
        together, oracle = decode(guider, prompts, sampling), naive_generate(guider, prompts, sampling, cached=False)
        assert [g.tokens for g in together] == [g.tokens for g in oracle]
        assert len({g.tokens for g in together}) > 1
    finally:
        base.tokenizer.pad_token = None


def test_a_text_value_waits_for_the_rest_of_a_character():
    """With another tokenizer, text that ends inside a character is scored without that character's first bytes."""
    base = byte_lm()
    guider = Guider(base, value=Explicit(value("gpt2")), search=ChunkBeam(2, 2, 3))

    def scored(tokens):
        return whole_value(guider, "q", tokens, False)

    ab, accented = base.tokenizer("ab")["input_ids"], base.tokenizer("é€")["input_ids"]
    assert len(accented) == 5
    assert scored(ab + accented[:1]) == scored(ab)
    assert scored(ab + accented[:2]) == scored(ab + accented[:3]) == scored(ab + accented[:4])
    assert scored(ab + accented[:2]) != scored(ab)
    sampling = Sampling(max_new_tokens=11, seed=3)
    found, oracle = decode(guider, ["é", "ab"], sampling), naive_generate(guider, ["é", "ab"], sampling)
    assert [(g.tokens, g.value) for g in found] == [(g.tokens, pytest.approx(g.value)) for g in oracle]


@pytest.mark.parametrize("failing", [1, 2, 3, 4, 6, 8, 9, 12, 15])
def test_out_of_memory_halves_the_batch_and_gives_the_same(monkeypatch, failing):
    """Whichever pass it strikes, every prompt is answered once, with its own response."""
    guider, sampling = searching(), Sampling(max_new_tokens=15, seed=2)
    expected = [g.tokens for g in decode(guider, PROMPTS, sampling)]
    model, calls = guider.base.model, []
    forward = model.forward

    def scarce(*args, **kwargs):
        calls.append(1)
        if len(calls) == failing:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", scarce)
    found = decode(guider, PROMPTS, sampling)
    assert len(calls) > failing
    assert [(g.index, g.tokens) for g in found] == list(enumerate(expected))


def test_no_memory_for_one_prompt_is_said(monkeypatch):
    guider = searching()
    check_cacheable(PAIR[0])

    def never(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(PAIR[0].model, "forward", never)
    with pytest.raises(GuiderError, match="out of memory with a single prompt"):
        decode(guider, PROMPTS, Sampling(max_new_tokens=3))


@pytest.mark.parametrize(
    "config",
    [
        MambaConfig(vocab_size=24, hidden_size=16, num_hidden_layers=2, state_size=4),
        BloomConfig(vocab_size=24, hidden_size=16, n_layer=2, n_head=4),
    ],
    ids=lambda config: config.model_type,
)
def test_a_model_that_cannot_be_cached_says_so(config):
    """A state-space model, and one with an attention of its own."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).double()
    strange = LM(model, lm().tokenizer, name=config.model_type)
    with pytest.raises(GuiderError, match=f"^{config.model_type} .*choose a decoder-only model"):
        decode(Guider(strange), ["ab"], Sampling(max_new_tokens=2))
    with pytest.raises(GuiderError, match=config.model_type):
        token_log_probs(Guider(strange), [("ab", [1])])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_is_no_mismatch(dtype):
    torch.manual_seed(0)
    config = GPT2Config(n_embd=64, n_layer=4, n_head=4, vocab_size=24, initializer_range=0.2)
    rough = LM(AutoModelForCausalLM.from_config(config).to(dtype).eval(), lm().tokenizer)
    check_cacheable(rough)  # raises where it finds a mismatch
    assert rough.checked


def test_vocabularies_are_compared_before_weights_are_loaded():
    def weights():
        pytest.fail("weights were loaded")

    other = LM(weights, byte_lm().tokenizer, name="other")
    with pytest.raises(GuiderError, match="other does not share the vocabulary"):
        Guider(LM(weights, lm().tokenizer, name="base"), token=Implicit(other, other))


def test_every_model_reads_the_prompt_in_its_own_template():
    made = lm("gpt2", 0)
    chat = (
        "{% for m in messages %}{{ m.role[0] }} {{ m.content }} {% endfor %}{% if add_generation_prompt %}a{% endif %}"
    )
    letters = made.tokenizer.decode

    def asked(template, prompt):
        return letters(LM(made.model, made.tokenizer, template=template).encode_prompt(prompt))

    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "go"}]
    assert asked(None, "hi") == "hi"
    assert asked("tell {prompt} go on", "hi") == "tell hi go on"
    assert asked(chat, "hi") == "u hi a"
    assert asked(chat, messages) == "u hi a go a"
    assert asked("tell {prompt} go on", messages[:1]) == "tell hi go on"
    with pytest.raises(GuiderError, match="takes one message, not 2"):
        asked("tell {prompt} go on", messages)
    with pytest.raises(GuiderError, match="no chat template"):
        asked("chat", "hi")
    assert asked(None, "") == "<end>"


def test_a_prompt_that_fills_the_context_is_named():
    with pytest.raises(GuiderError, match=r"prompt 1 has 64 tokens and gpt2-0 a context of 64; shorten the prompt"):
        list(generate(Guider(lm("gpt2", 0)), ["a", "b" * 64], Sampling(max_new_tokens=2)))
