"""Where weights go and in what precision: transformers' own device maps and quantisation configurations."""

import copy

import pytest
import torch
from tiny_models import END, VOCAB, words
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig

from guiders import LM, ChunkBeam, Explicit, Guider, Implicit, Sampling, laws
from guiders.laws.oracle import naive_generate
from guiders.models.value_model import ValueModel

torch.set_num_threads(1)
CONFIG = LlamaConfig(
    vocab_size=VOCAB,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    initializer_range=0.3,
    eos_token_id=END,
    bos_token_id=END,
)
EIGHT = BitsAndBytesConfig(load_in_8bit=True)
FOUR = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A language model and a value model on disk."""
    torch.manual_seed(0)
    language, scored = tmp_path_factory.mktemp("lm"), tmp_path_factory.mktemp("value")
    AutoModelForCausalLM.from_config(CONFIG).save_pretrained(language)
    model = ValueModel.from_config(copy.deepcopy(CONFIG))
    torch.nn.init.normal_(model.score_head.weight)
    model.save(scored)
    for folder in (language, scored):
        words().save_pretrained(folder)
    return language, scored


@pytest.mark.parametrize("device_map", ["auto", {"": "cpu"}], ids=["auto", "by name"])
@pytest.mark.parametrize(
    ("quantization", "layer"), [(None, "Linear"), (EIGHT, "Linear8bitLt"), (FOUR, "Linear4bit")], ids=["32", "8", "4"]
)
def test_models_are_loaded_as_their_configuration_says_and_decoded_as_they_are(
    folders, device_map, quantization, layer
):
    """The base and the value; both read by the naive oracle as well, which knows of no cache and of no packing."""
    options = {"device_map": device_map, "quantization_config": quantization}
    base, scored = LM.load(folders[0], **options), LM.load(folders[1], head="value", **options)
    for model in (base.model, scored.model.backbone):
        assert {type(m).__name__ for m in model.modules() if "Linear" in type(m).__name__} >= {layer}
    guider = Guider(base, Implicit(LM.load(folders[0]), LM.load(folders[0])), Explicit(scored), ChunkBeam(2, 2, 4))
    prompts, sampling = ["ab", "hello"], Sampling(temperature=0.5, max_new_tokens=12, seed=4)
    if quantization is EIGHT:  # rounds activations to eight bits, anew for every batch: a draw may turn
        return laws.cached_logits_equal_formula(guider, prompts, sampling, tolerance=0.05)
    laws.cached_logits_equal_formula(guider, prompts, sampling, tolerance=1e-4)
    found, oracle = laws.decode(guider, prompts, sampling), naive_generate(guider, prompts, sampling)
    assert [g.tokens for g in found] == [g.tokens for g in oracle]
    assert [g.value for g in found] == [pytest.approx(g.value, rel=1e-3) for g in oracle]
