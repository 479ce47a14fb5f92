"""Tiny random models with a real tokenizer, and a sweep of them that takes seconds."""

from pathlib import Path


def make_models(folder: Path) -> dict[str, str]:
    """Write a base, a tuned and an untuned GPT-2, a value model, and a base with another vocabulary; name -> folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    from guiders.models.value_model import ValueModel
    from tasks.reviews.data import prompts

    def tokenizer(size: int) -> PreTrainedTokenizerFast:
        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=["<|endoftext|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        bpe.train_from_iterator(prompts("dev", 64, 0), trainer)
        end = "<|endoftext|>"
        return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=end, bos_token=end, pad_token=end)

    found = {}
    sizes = {"base": 320, "tuned": 320, "untuned": 320, "value": 320, "other": 300}
    for seed, (name, size) in enumerate(sizes.items()):
        torch.manual_seed(seed)
        config = GPT2Config(
            vocab_size=size, n_positions=128, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
        )
        if name == "value":
            model = ValueModel.from_config(config)
            torch.nn.init.normal_(model.score_head.weight)
            model.save(folder / name)
        else:
            model = GPT2LMHeadModel(config)
            # flat enough that texts differ, far enough from flat that greedy choices are no ties
            model.lm_head.weight.data.mul_(10)
            model.save_pretrained(folder / name)
        tokenizer(size).save_pretrained(folder / name)
        found[name] = str(folder / name)
    return found


def options(models: dict[str, str]) -> list[str]:
    """Overrides for a sweep of a few seconds on the models."""
    return [
        "model=hf",
        *(f"model.{role}={models[role]}" for role in ("base", "tuned", "untuned", "value")),
        "guider=[eft,ivg]",
        "grid.weight=[0.5,2]",
        "grid.width=2",
        "grid.successors=2",
        "grid.rows=4",
        "task.n_dev=4",
        "task.n_test=6",
        "seeds=[0,1]",
        "block=2",
        "sampling.max_new_tokens=8",
        "name=tiny",
    ]
