"""Value models on disk: the published layout, its formula, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Model, LlamaConfig, LlamaForCausalLM, LlamaModel

from guiders.errors import GuiderError
from guiders.models.value_model import ValueModel

GPT2 = GPT2Config(vocab_size=40, n_positions=32, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
LLAMA = LlamaConfig(
    vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, bos_token_id=0
)


def publish(folder, config, causal_class, backbone_class, prefix):
    """A random checkpoint in the layout of the published value models, written without our code."""
    torch.manual_seed(0)
    causal = causal_class(config)
    head = torch.randn(config.vocab_size, config.hidden_size)
    weights = {k: v.clone() for k, v in causal.state_dict().items() if k.startswith(prefix)}
    save_file(weights | {"score_head.weight": head}, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config.to_dict() | {"architectures": [causal_class.__name__]}))
    backbone = backbone_class(config)
    backbone.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items()})
    return backbone.eval(), head


@pytest.mark.parametrize(
    ("config", "causal_class", "backbone_class", "prefix"),
    [(GPT2, GPT2LMHeadModel, GPT2Model, "transformer."), (LLAMA, LlamaForCausalLM, LlamaModel, "model.")],
    ids=["gpt2", "llama"],
)
def test_a_published_checkpoint_gives_the_last_tokens_logit_one_position_earlier(
    tmp_path, config, causal_class, backbone_class, prefix
):
    backbone, head = publish(tmp_path, config, causal_class, backbone_class, prefix)
    model = ValueModel.load(tmp_path)
    assert model.kind == model.config.value_head == "vocab"
    ids = torch.randint(1, 40, (1, 7))
    values = model.prefix_values(ids, start=3)
    assert values[0, :3].isnan().all()
    for t in range(3, 7):
        hidden = backbone(input_ids=ids[:, :t]).last_hidden_state[0, -1]  # of the prefix without its last token
        assert values[0, t].item() == pytest.approx((head @ hidden)[ids[0, t]].item(), abs=1e-4)


@pytest.mark.parametrize("kind", ["scalar", "vocab"])
def test_padding_on_either_side_changes_no_value(kind):
    torch.manual_seed(0)
    model = ValueModel.from_config(GPT2Config(**GPT2.to_diff_dict()), kind).eval()
    torch.nn.init.normal_(model.score_head.weight)
    ids, pad = torch.randint(1, 40, (1, 6)), torch.zeros(1, 3, dtype=torch.long)
    ones, zeros = torch.ones_like(ids), torch.zeros_like(pad)
    alone = model.prefix_values(ids, start=2)[:, 2:]
    left = model.prefix_values(torch.cat([pad, ids], 1), torch.cat([zeros, ones], 1), start=5)[:, 5:]
    right = model.prefix_values(torch.cat([ids, pad], 1), torch.cat([ones, zeros], 1), start=2)
    torch.testing.assert_close(left, alone)
    torch.testing.assert_close(right[:, 2:6], alone)
    assert right[:, 6:].isnan().all()


@pytest.mark.parametrize("kind", ["scalar", "vocab"])
def test_what_is_saved_is_what_is_loaded_and_a_cache_changes_nothing(tmp_path, kind):
    torch.manual_seed(0)
    model = ValueModel.from_config(GPT2Config(**GPT2.to_diff_dict()), kind).eval()
    torch.nn.init.normal_(model.score_head.weight)
    model.save(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["value_head"] == kind
    again, ids = ValueModel.load(tmp_path), torch.randint(1, 40, (2, 8))
    whole = model(input_ids=ids).logits
    torch.testing.assert_close(again(input_ids=ids).logits, whole, rtol=0, atol=0)
    first = again(input_ids=ids[:, :5], use_cache=True)
    rest = again(input_ids=ids[:, 5:], past_key_values=first.past_key_values, use_cache=True, logits_to_keep=1)
    torch.testing.assert_close(rest.logits, whole[:, -1:])


def test_pickled_weights_are_refused_with_the_command_that_converts_them(tmp_path, monkeypatch):
    publish(tmp_path, GPT2, GPT2LMHeadModel, GPT2Model, "transformer.")
    from safetensors.torch import load_file

    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(GuiderError, match=r"pytorch_model\.bin") as refused:
        ValueModel.load(tmp_path)
    line = str(refused.value)
    assert "\n" not in line
    monkeypatch.chdir(tmp_path)
    exec(line.split('python -c "')[1].removesuffix('"'))  # the mend that it names works
    assert ValueModel.load(tmp_path).kind == "vocab"


def test_a_language_model_is_no_value_model(tmp_path):
    GPT2LMHeadModel(GPT2).save_pretrained(tmp_path)
    with pytest.raises(GuiderError, match="score_head"):
        ValueModel.load(tmp_path)
