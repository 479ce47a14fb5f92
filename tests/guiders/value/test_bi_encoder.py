"""The bi-encoder: dot products by hand, and a prompt that is encoded once."""

import pytest
import torch
from tiny_models import lm, value, words
from transformers import BertConfig, BertModel, T5Config, T5ForConditionalGeneration

from guiders import BestOfN, BiEncoder, ChunkBeam, Encoder, Guider, GuiderError, Sampling
from guiders.laws import check, decode

torch.set_num_threads(1)
PROMPTS = ["hat", "a dog"]


def bert(pooling: str = "mean") -> Encoder:
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=24, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=64,
    )  # fmt: skip
    return Encoder(BertModel(config).double().eval(), words(), pooling, name="bert")


class Noting(Encoder):
    """An encoder that notes every text it reads."""

    def __init__(self, *given):
        super().__init__(*given)
        self.read: list[str] = []

    def embed(self, texts, end=False):
        self.read += texts
        return super().embed(texts, end)


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
def test_it_is_the_dot_product_of_two_passes(pooling):
    encoder = bert(pooling)
    guider = Guider(lm("gpt2", 0, 1.0), value=BiEncoder(encoder, "p {text}", "s{text}"), search=BestOfN(3))

    def vector(text):
        with torch.no_grad():
            states = encoder.model(torch.tensor([words()(text)["input_ids"]])).last_hidden_state[0]
        return {"mean": states.mean(0), "first": states[0], "last": states[-1]}[pooling]

    for one in decode(guider, PROMPTS, Sampling(max_new_tokens=9, seed=1)):
        by_hand = vector(f"p {PROMPTS[one.index]}") @ vector(f"s{one.text}")
        assert one.value == pytest.approx(float(by_hand), abs=1e-9)


def test_the_prompt_is_encoded_once_and_each_response_at_every_boundary():
    encoder = Noting(bert().model, words())
    guider = Guider(lm("gpt2", 0, 0.3), value=BiEncoder(encoder, "< {text}"), search=ChunkBeam(1, 2, 3))
    decode(guider, PROMPTS, Sampling(max_new_tokens=9, seed=1))
    assert sorted(text for text in encoder.read if text.startswith("< ")) == ["< a dog", "< hat"]
    assert len(encoder.read) > len(PROMPTS) + 2 * 2  # several boundaries


def test_laws():
    for encoder in (bert(), value("gpt2", "scalar", 7), lm("llama", 4)):
        guider = Guider(lm("gpt2", 0, 1.0), value=BiEncoder(encoder), search=ChunkBeam(2, 2, 3))
        check(guider, PROMPTS, Sampling(max_new_tokens=7, seed=3))


def test_of_an_encoder_and_decoder_the_encoder_is_loaded(tmp_path):
    torch.manual_seed(0)
    config = T5Config(vocab_size=24, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, decoder_start_token_id=0)
    model = T5ForConditionalGeneration(config).eval()
    model.save_pretrained(tmp_path)
    words().save_pretrained(tmp_path)
    with torch.no_grad():
        states = model.encoder(torch.tensor([words()("abc")["input_ids"]])).last_hidden_state[0]
    found = Encoder.load(str(tmp_path)).embed(["abc", "a"])[0]
    assert torch.allclose(found, states.double().mean(0), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: BiEncoder("x"), "encoder is a str"),
        (lambda: BiEncoder(bert(), prefix="pre "), "lacks {text}"),
        (lambda: bert("max"), "pooling='max' is unknown"),
        (lambda: Encoder.load("./nowhere"), "can't be loaded"),
    ],
)
def test_bad_settings_are_one_line(make, said):
    with pytest.raises(GuiderError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)
