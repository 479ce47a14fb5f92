"""``models=tiny``: tiny random models in place of a preset's, so that all but their size is tried on any machine."""

import zlib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.models import build_cache as cache
from harness.models.catalog import MODELS, HubModel

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

POSITIONS, NEW_TOKENS, PROMPTS = 4096, 16, 4
CHAT = (
    "{% for message in messages %}{{ '[' + message.role + '] ' + message.content + ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
)
# what the tokenizers are learned from: families of other texts have other vocabularies
TEXTS = {
    "gpt2": "the film was a slow and careful story of a long winter",
    "distilbert": "the film was a slow and careful story of a long winter",
    "llama": "write a short answer to the question and say why it holds",
    "mistral": "explain in a few words what the user wants to know about it",
}
TEXTS["mixtral"] = TEXTS["mistral"]


def replaced(config: dict) -> dict:
    """A sweep's composed configuration with every hub model replaced by a tiny one of its architecture, few prompts,
    short responses, and the task's own sample rows; a judge over the network is replaced by a tiny reward model."""
    task = dict(config["task"])
    gold = task.get("gold")
    if gold and gold["path"]:
        task["gold"] = {**gold, "path": folder(gold["path"])}
    sample = resources.files("tasks") / str(task["name"]) / "sample.jsonl"
    if task["data"] is None and sample.is_file():
        task["data"] = str(sample)
    for name in ("n_dev", "n_test"):
        task[name] = min(task[name] or PROMPTS, PROMPTS)
    sampling = {
        **config["sampling"],
        "max_new_tokens": min(config["sampling"]["max_new_tokens"] or 1 << 20, NEW_TOKENS),
    }
    model = {role: {**spec, "path": folder(spec["path"])} for role, spec in config["model"].items()}
    judge = config["judge"]
    if judge and judge["name"] == "openai":
        tiny_judge = {"name": "reward", "model": folder("lvwerra/distilbert-imdb", labels=1), "revision": None}
        judge = {**tiny_judge, "batch_size": 8, "device": "cpu", "max_missing": 0.0}
    return {**config, "task": task, "sampling": sampling, "model": model, "judge": judge, "device": "cpu"}


def folder(path: str | None, labels: int | None = None) -> str | None:
    """The folder of the tiny model that stands for a hub name; made on first use. Local folders stay as they are.

    Args:
        labels: of a classifier, in place of its own number.
    """
    if path not in MODELS:
        return path
    entry = MODELS[path]
    name = f"tiny-{path.replace('/', '--')}-{labels or 'own'}-2"
    return str(cache.entry(cache.root() / "tiny", name, lambda out: _make(path, entry, labels, out), print))


def _make(path: str, entry: HubModel, labels: int | None, out: Path) -> None:
    import torch

    from guiders.models.value_model import ValueModel
    from guiders.training.tokenizer import train

    tokenizer = train([TEXTS[entry.family]] * 4, 300)
    tokenizer.chat_template = CHAT if entry.head == "lm" else None
    torch.manual_seed(zlib.crc32(path.encode()))
    config = _config(entry.family, len(tokenizer), tokenizer.eos_token_id)
    if entry.head == "value" or (entry.head == "classifier" and entry.family != "distilbert"):
        model = ValueModel.from_config(config, "vocab" if entry.head == "value" else "scalar")
        torch.nn.init.normal_(model.score_head.weight)
        model.save(out)
    elif entry.head == "classifier":
        from transformers import AutoModelForSequenceClassification

        config.num_labels = labels or 2
        model = AutoModelForSequenceClassification.from_config(config)
        # it reads its first position alone, which must see the others
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        model.save_pretrained(out)
    else:
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_config(config)
        # far enough from flat that models differ
        model.get_output_embeddings().weight.data.mul_(10)
        model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def _config(family: str, size: int, end: int) -> "PreTrainedConfig":
    from transformers import DistilBertConfig, GPT2Config, LlamaConfig, MistralConfig, MixtralConfig

    ids: dict[str, Any] = {"vocab_size": size, "bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    if family == "gpt2":
        return GPT2Config(n_positions=POSITIONS, n_embd=16, n_layer=1, n_head=2, **ids)
    if family == "distilbert":
        return DistilBertConfig(
            vocab_size=size,
            dim=16,
            hidden_dim=24,
            n_layers=1,
            n_heads=2,
            max_position_embeddings=POSITIONS,
            pad_token_id=end,
        )
    shape: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": POSITIONS,
    }
    if family == "mixtral":
        return MixtralConfig(num_local_experts=2, **shape, **ids)
    return (LlamaConfig if family == "llama" else MistralConfig)(**shape, **ids)
