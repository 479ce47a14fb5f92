"""Right text or one line that says no, for every way in which an architecture departs from plain causal attention.

`architectures` tries all of transformers' causal language models in the same way; here are those that depart.
"""

import copy

import pytest
import torch
from architectures import PROMPTS, difference, runs, tiny_config, tried
from test_graphs import Watched
from tiny_models import byte_level, lm, sharpened, words
from transformers import AutoModel

import guiders.decoding.stepper
import guiders.kv.attention
from guiders import (
    LM,
    ChunkBeam,
    Explicit,
    Guider,
    GuiderError,
    Implicit,
    ImplicitValue,
    Sampling,
    generate,
    token_log_probs,
)
from guiders.kv.self_check import check_cacheable, shortened
from guiders.laws import decode
from guiders.laws.oracle import naive_generate
from guiders.models.value_model import ValueModel
from guiders.search import ReleasedChunkBeam

torch.set_num_threads(1)
RIGHT = [
    "phimoe",  # a window in the mask alone
    "qwen2_moe",  # the same, in some layers
    "llama4_text",  # attention in chunks, and queries scaled by position
    "gpt_oss",  # sinks
    "deepseek_v3",  # keys and values made from a cached latent
    "gemma4_text",  # layers that read another layer's keys, and heads of unlike widths
    "qwen3_next",  # gated delta rule
    "jamba",  # Mamba
    "granitemoehybrid",  # Mamba 2
    "falcon_h1",  # attention and Mamba in one layer
    "lfm2",  # short convolutions
]
REFUSED = {
    "falcon": "",
    "bloom": "gives other logits",
    "mpt": "",
    "gptj": "gives other logits",
    "gpt_neo": "gives other logits",
    "mamba": "gives other logits",
    "deepseek_v32": "caches a DynamicIndexedLayer",  # attends to the best of its tokens only
}


@pytest.mark.parametrize("kind", RIGHT)
def test_decoded_as_the_model_reads_without_a_cache(kind):
    assert tried(kind, length=14) == ("right", "")


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_in_one_line(kind):
    verdict, why = tried(kind)
    assert verdict == "refused"
    assert REFUSED[kind] in why
    assert "\n" not in why


@pytest.mark.parametrize("kind", ["phimoe", "llama4_text"])
def test_the_self_check_sees_beyond_a_reach_that_its_texts_don_t(kind, monkeypatch):
    """Windows of 14 tokens and a scale of 13, texts of 12: with the window or the scale left out, it must notice."""
    model = runs(kind)[0]
    monkeypatch.setattr(guiders.kv.attention, "segment_mask", lambda *args, **kwargs: None)
    monkeypatch.setattr(guiders.kv.attention, "_tempered", lambda module, query, positions: query)
    with pytest.raises(GuiderError, match=r"without one beyond its .*(sliding_window|floor_scale)"):
        check_cacheable(model)
    assert not model.checked


def test_what_the_self_check_shortens_is_as_it_was_afterwards():
    model = runs("gpt_oss")[0].model
    layers = [layer.self_attn for layer in model.model.layers if layer.self_attn.sliding_window]

    def windows():
        return [x.sliding_window for x in (model.config, *layers)]

    with shortened(model) as names:
        assert names == {"sliding_window"}
        assert windows() == [4] * 3
    assert windows() == [14] * 3


def test_positions_that_depend_on_the_batch_in_some_layers_are_refused():
    model = copy.copy(runs("gemma3_text")[0])
    rule = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    model.config.rope_parameters["full_attention"] = rule
    with pytest.raises(GuiderError, match="'dynamic' positions in some of its layers"):
        check_cacheable(model)


def hybrid_value(kind: str, head: str, tokenizer=None) -> LM:
    config, tokenizer = tiny_config(kind), tokenizer or words()
    config.vocab_size = len(tokenizer)
    torch.manual_seed(3)
    linear = torch.nn.Linear(config.hidden_size, 1 if head == "scalar" else config.vocab_size, bias=head == "scalar")
    return LM(sharpened(ValueModel(AutoModel.from_config(config), linear), 3, 0.3), tokenizer, name=head)


@pytest.mark.parametrize(("head", "released"), [("scalar", False), ("scalar", True), ("vocab", True), ("pair", True)])
def test_recurrent_values(head, released):
    """The released search has a value read a token that a row does not keep, which a state can't forget."""
    pair = runs("olmo_hybrid")
    scored = ImplicitValue(*pair) if head == "pair" else Explicit(hybrid_value("olmo_hybrid", head))
    search = ReleasedChunkBeam(2, 2, 3) if released else ChunkBeam(2, 2, 3)
    guider = Guider(lm("gpt2", 0, 1.0), None, scored, search)
    sampling = Sampling(max_new_tokens=11, seed=2)
    # of unlike lengths: one response is cut at its limit while another, in the next slot, goes on
    asked = [*PROMPTS[1:], "d", "a" * 56]
    found = sorted(generate(guider, asked, sampling, batch_tokens=300), key=lambda g: g.index)
    for one, right in zip(found, naive_generate(guider, asked, sampling, cached=False), strict=True):
        assert one.tokens == right.tokens
        assert one.value == pytest.approx(right.value, rel=1e-4, abs=1e-4)  # the states are float32
    assert len({len(generation.tokens) for generation in found}) > 1


def test_a_recurrent_value_of_another_tokenizer_is_refused():
    made = hybrid_value("olmo_hybrid", "scalar", byte_level())
    guider = Guider(lm(), None, Explicit(made), ChunkBeam(2, 2, 2))
    with pytest.raises(GuiderError, match="recurrent layers, which can't go back in a text"):
        decode(guider, [[1, 2, 3]], Sampling(max_new_tokens=4))


def test_log_probabilities_of_recurrent_models():
    """Texts that stand in one row elsewhere: a state would run from one into the next."""
    model = runs("olmo_hybrid")[0]
    pairs = [([1, 2, 3], [4, 5, 6, 7]), ([8], [9]), ([3, 3, 4, 1, 2], [0, 2])]
    for (context, continuation), found in zip(pairs, token_log_probs(Guider(model), pairs), strict=True):
        with torch.inference_mode():
            logits = model.model(input_ids=torch.tensor([context + continuation]), use_cache=False).logits[0]
        expected = logits[len(context) - 1 : -1].log_softmax(-1).gather(-1, torch.tensor(continuation)[:, None])
        assert found.log_probs == pytest.approx(expected[:, 0].tolist(), rel=1e-4, abs=1e-4)


def test_recurrent_states_under_graphs(monkeypatch):
    """A replay writes the states where it read them."""
    monkeypatch.setattr(guiders.decoding.stepper, "Graphs", Watched)
    base, other = runs("olmo_hybrid")
    guider = Guider(base, Implicit(other, base, 0.5), ImplicitValue(base, other), ChunkBeam(2, 2, 5))
    sampling = Sampling(max_new_tokens=12)
    plain = sorted(generate(guider, PROMPTS, sampling), key=lambda g: g.index)
    replayed = sorted(generate(guider, PROMPTS, sampling, graphs=True), key=lambda g: g.index)
    assert [g.tokens for g in replayed] == [g.tokens for g in plain]


def test_a_difference_would_be_seen(monkeypatch):
    """The comparison that the table rests on, on a decoder that forgets a window."""
    models = runs("phimoe")
    monkeypatch.setattr(guiders.kv.attention, "segment_mask", lambda *args, **kwargs: None)
    for model in models:
        model.checked = True
    assert "for" in difference(models)
