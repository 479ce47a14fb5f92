"""A tuned and an untuned model on one set of weights are the two models that they stand for."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from guiders import LM, ChunkBeam, Guider, GuiderError, Implicit, ImplicitValue, Sampling, generate
from guiders.models.adapter import adapter_base, weight_bytes
from guiders.training.tokenizer import train as train_tokenizer

TEXT = "a film that is slow and cold, or fast and warm"


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def folders(request, tmp_path_factory):
    """An untuned model, its adapter beside it, and the two merged into a model of its own."""
    folder = tmp_path_factory.mktemp(request.param)
    tokenizer = train_tokenizer([TEXT] * 3, 280)
    torch.manual_seed(0)
    ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), tokenizer.eos_token_id)
    size = len(tokenizer)
    if request.param == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(vocab_size=size, n_positions=64, n_embd=32, n_layer=2, n_head=2, **ends))
    else:
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2, "hidden_size": 32}
        model = LlamaForCausalLM(
            LlamaConfig(vocab_size=size, intermediate_size=48, max_position_embeddings=64, **heads, **ends)
        )
    for name in ("untuned", "merged"):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    settings = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", fan_in_fan_out=request.param == "gpt2")
    tuned = get_peft_model(model, settings)
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    tuned.peft_config["default"].base_model_name_or_path = "../untuned"
    tuned.save_pretrained(folder / "tuned")
    tuned.merge_and_unload().save_pretrained(folder / "merged")
    return folder


def pair(folders):
    untuned = LM.load(str(folders / "untuned"))
    return untuned.adapted(str(folders / "tuned")), untuned


def test_off_is_the_base_and_on_is_peft_to_the_bit(folders):
    tuned, untuned = pair(folders)
    ids = torch.tensor([untuned.encode_prompt(TEXT)])
    plain = AutoModelForCausalLM.from_pretrained(folders / "untuned").eval()
    before = plain(ids).logits
    reference = PeftModel.from_pretrained(plain, folders / "tuned").eval()(ids).logits
    assert not torch.allclose(before, reference, atol=0.1)
    for _ in range(2):  # one after the other, as the decoder steps them
        # the fused GELU rounds otherwise than the reference's
        torch.testing.assert_close(tuned.model(input_ids=ids).logits, reference, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(untuned.model(input_ids=ids).logits, before, atol=1e-5, rtol=1e-5)


def test_the_decoder_gives_the_responses_of_two_models(folders):
    tuned, untuned = pair(folders)
    two = LM.load(str(folders / "merged")), LM.load(str(folders / "untuned"))
    base = LM.load(str(folders / "untuned"))
    sampling = Sampling(max_new_tokens=12, seed=3)
    search = ChunkBeam(2, 2, 3)

    def responses(tuned, untuned, base=base):
        guider = Guider(base, Implicit(tuned, untuned, 1.5), ImplicitValue(tuned, untuned), search)
        return {one.index: (one.tokens, one.value) for one in generate(guider, [TEXT, "a film"], sampling)}

    expected = responses(*two)
    for found in (responses(tuned, untuned), responses(tuned, untuned, base=untuned)):
        for index, (tokens, value) in expected.items():
            assert found[index][0] == tokens
            assert found[index][1] == pytest.approx(value, abs=1e-3)


def test_shared_weights_are_held_once(folders):
    tuned, untuned = pair(folders)
    alone = weight_bytes([LM.load(str(folders / "untuned")).model])
    two = weight_bytes([LM.load(str(folders / name)).model for name in ("merged", "untuned")])
    shared = weight_bytes([tuned.model, untuned.model])
    adapter = (folders / "tuned" / "adapter_model.safetensors").stat().st_size
    assert two == 2 * alone
    assert alone < shared <= alone + adapter


def test_an_adapter_says_its_base_from_wherever_it_lies(folders, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert adapter_base(str(folders / "tuned")) == str((folders / "untuned").resolve())
    assert adapter_base(str(folders / "untuned")) is None


def test_an_adapter_is_loaded_by_its_folder_alone(folders):
    alone, (tuned, _) = LM.load(str(folders / "tuned")), pair(folders)
    ids = torch.tensor([tuned.encode_prompt(TEXT)])
    assert torch.equal(alone.model(input_ids=ids).logits, tuned.model(input_ids=ids).logits)


def test_an_adapter_of_another_base_is_refused(folders, tmp_path):
    untuned = LM.load(str(folders / "untuned"))
    (tmp_path / "adapter_config.json").write_text((folders / "tuned" / "adapter_config.json").read_text())
    with pytest.raises(GuiderError, match=r"adapter_model\.safetensors"):
        untuned.adapted(str(tmp_path)).model  # noqa: B018
