"""Sequence classifiers as rewards and as values on text, on tiny random ones in their published layouts."""

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    DistilBertConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    ModernBertConfig,
)

from guiders import LM, BestOfN, ChunkBeam, Classifier, Guider, GuiderError, Reward, Sampling, generate
from guiders.models.value_model import ValueModel
from guiders.training.tokenizer import train as train_tokenizer

PAIRS = [("A film", " that is slow"), ("A film about a", " long cold winter, and no one in it"), ("x", "")]
KINDS = ["gpt2", "llama", "distilbert", "modernbert"]


def settings(kind, size, end, labels):
    common = {"vocab_size": size, "num_labels": labels, "pad_token_id": end}
    ends = {"bos_token_id": end, "eos_token_id": end}
    if kind == "gpt2":
        return GPT2Config(n_positions=64, n_embd=16, n_layer=2, n_head=2, **common, **ends)
    if kind == "llama":
        shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
        return LlamaConfig(max_position_embeddings=64, **shape, **common, **ends)
    if kind == "distilbert":
        return DistilBertConfig(dim=16, hidden_dim=24, n_layers=2, n_heads=2, max_position_embeddings=64, **common)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"bos_token_id": end, "eos_token_id": end, "cls_token_id": end, "sep_token_id": end}
    return ModernBertConfig(max_position_embeddings=64, local_attention=8, **shape, **common, **ids)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([a + b for a, b in PAIRS] * 3, 290)


@pytest.fixture(scope="module")
def saved(tokenizer, tmp_path_factory):
    def save(kind, labels):
        folder = tmp_path_factory.mktemp(f"{kind}{labels}")
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_config(
            settings(kind, len(tokenizer), tokenizer.eos_token_id, labels)
        )
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return save


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", [1, 2])
def test_a_batch_of_rewards_is_each_text_alone(kind, labels, saved, tokenizer):
    folder = saved(kind, labels)
    rewards = Classifier.load(str(folder), template="{prompt}{response}").rewards(PAIRS)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for reward, (prompt, response) in zip(rewards, PAIRS, strict=True):
        with torch.no_grad():
            logits = model(**tokenizer(prompt + response, return_tensors="pt")).logits[0]
        expected = logits[0] if labels == 1 else logits[1] - logits[0]
        assert reward == pytest.approx(float(expected), abs=1e-4)


def test_more_than_two_labels_are_refused(saved):
    with pytest.raises(GuiderError, match="3 labels"):
        Classifier.load(str(saved("gpt2", 3))).rewards(PAIRS)


def test_a_chat_template_is_used_where_there_is_one_and_a_prompt_may_hold_a_placeholder(saved, tokenizer):
    folder = saved("gpt2", 1)
    plain = Classifier.load(str(folder), template="U {prompt} A {response}")
    chat = Classifier.load(str(folder))
    chat.tokenizer.chat_template = (
        "{% for m in messages %}{{ ('U ' if m.role == 'user' else ' A ') + m.content }}{% endfor %}"
    )
    pairs = [("a {response} b", "c")]
    expected = Classifier.load(str(folder), template="{response}").rewards([("", "U a {response} b A c")])
    assert plain.rewards(pairs).tolist() == pytest.approx(expected.tolist())
    assert chat.rewards(pairs).tolist() == pytest.approx(expected.tolist())
    assert chat.rewards([([{"role": "user", "content": pairs[0][0]}], "c")]).tolist() == expected.tolist()


def test_a_long_text_keeps_its_end(saved):
    classifier = Classifier.load(str(saved("gpt2", 1)), template="{prompt}{response}")
    ids = classifier.tokenizer("slow " * 100 + "winter")["input_ids"]
    assert len(ids) > 64
    kept = classifier.model(input_ids=torch.tensor([ids[-64:]])).logits[0, 0]
    assert classifier.rewards([("slow " * 100, "winter")]).item() == pytest.approx(kept.item(), abs=1e-4)


@pytest.mark.parametrize("search", [BestOfN(6), ChunkBeam(2, 3, 4)])
def test_as_a_value_it_is_the_reward_of_the_text(search, saved, tokenizer):
    torch.manual_seed(1)
    base = LM(GPT2LMHeadModel(settings("gpt2", len(tokenizer), tokenizer.eos_token_id, 1)), tokenizer)
    classifier = Classifier.load(str(saved("modernbert", 1)), template="{prompt}{response}")
    guider = Guider(base, value=Reward(classifier), search=search)
    prompts = ["A film", "A long cold winter"]
    found = list(generate(guider, prompts, Sampling(max_new_tokens=8, seed=2), trace=True))
    assert len(found) == 2
    for one in found:
        text = base.decode(list(one.tokens)).rstrip("\ufffd")
        assert one.value == pytest.approx(classifier.rewards([(prompts[one.index], text)]).item(), abs=1e-4)
        assert one.forward_passes > len(one.tokens)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_published_score_head_is_a_reward_model(kind, tokenizer, tmp_path):
    """The layout of the authors' gold reward models: a scalar head; the reward is the value of the whole text."""
    torch.manual_seed(2)
    model = ValueModel.from_config(settings(kind, len(tokenizer), tokenizer.eos_token_id, 1))
    torch.nn.init.normal_(model.score_head.weight)
    model.save(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    rewards = Classifier.load(str(tmp_path), template="{prompt}{response}<|endoftext|>").rewards(PAIRS)
    for reward, (prompt, response) in zip(rewards, PAIRS, strict=True):
        ids = torch.tensor([tokenizer(prompt + response)["input_ids"] + [tokenizer.eos_token_id]])
        with torch.no_grad():
            assert reward == pytest.approx(model.eval().prefix_values(ids)[0, -1].item(), abs=1e-4)


def test_a_vocabulary_head_is_no_reward_model(tokenizer, tmp_path):
    ValueModel.from_config(settings("gpt2", len(tokenizer), tokenizer.eos_token_id, 1), "vocab").save(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(GuiderError, match="values every next token"):
        Classifier.load(str(tmp_path)).rewards(PAIRS)
