"""Models that share weights are loaded once, whatever they are used as."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from guiders.models.adapter import weight_bytes
from harness.models.pool import Pool, Resolver


def spec(path, **more):
    return {"path": str(path), "head": "lm", "revision": None, "dtype": "float32", "template": None, **more}


def eft(base, tuned, untuned):
    token = {"_target_": "guiders.Implicit", "tuned": tuned, "untuned": untuned, "weight": 1.0}
    return {"_target_": "guiders.Guider", "base": base, "token": token}


@pytest.fixture
def adapter(tiny_models, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_models["untuned"])
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", fan_in_fan_out=True))
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    tuned.save_pretrained(tmp_path / "tuned")
    AutoTokenizer.from_pretrained(tiny_models["untuned"]).save_pretrained(tmp_path / "tuned")
    return tmp_path / "tuned"


def test_one_model_under_two_templates_is_one_set_of_weights(tiny_models):
    path = tiny_models["base"]
    guider = Pool(Resolver()).guider(eft(spec(path), spec(tiny_models["tuned"]), spec(path, template="Q: {prompt}")))
    base, untuned = guider.base, guider.token.untuned
    assert base.model is untuned.model
    assert untuned.encode_prompt("x") == base.encode_prompt("Q: x")


def test_one_folder_in_two_precisions_is_two_models(tiny_models):
    path, four = tiny_models["base"], {"load_in_4bit": True}
    guider = Pool(Resolver()).guider(eft(spec(path, quantization_config=four), spec(path), spec(path)))
    assert guider.token.tuned is guider.token.untuned
    layers = [{type(m).__name__ for m in lm.model.modules()} for lm in (guider.base, guider.token.tuned)]
    assert ["Linear4bit" in names for names in layers] == [True, False]


def test_an_adapter_its_base_and_the_base_model_are_one_set_of_weights(tiny_models, adapter):
    untuned = tiny_models["untuned"]
    guider = Pool(Resolver()).guider(eft(spec(untuned), spec(adapter), spec(untuned)))
    models = [lm.model for lm in guider.models]
    alone = weight_bytes([AutoModelForCausalLM.from_pretrained(untuned)])
    assert weight_bytes(models) - alone <= (adapter / "adapter_model.safetensors").stat().st_size
    ids = torch.tensor([guider.base.encode_prompt("The film")])
    assert not torch.allclose(guider.token.tuned.model(input_ids=ids).logits, guider.base.model(input_ids=ids).logits)


def test_an_adapter_is_another_model_where_its_base_is_another(tiny_models, adapter):
    first = Resolver().revision(spec(adapter), "tuned")
    text = (adapter / "adapter_config.json").read_text()
    assert Resolver().revision(spec(adapter), "tuned") == first
    (adapter / "adapter_config.json").write_text(text.replace(tiny_models["untuned"], tiny_models["base"]))
    second = Resolver().revision(spec(adapter), "tuned")
    assert first.partition("+")[2] != second.partition("+")[2]
