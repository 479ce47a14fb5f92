"""How the embedded models are trained: their recipe, the base, and the three guides."""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiders.training.schedule import Progress, Schedule

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast


@dataclass(frozen=True)
class EmbeddedRecipe:
    """Everything that decides the weights, besides the grammar, the training code and the packages' versions.

    Args:
        vocab: tokens of the byte-level BPE; 1,300 is nearly a token for each of the grammar's words.
        base, guide: (width, layers, heads) of the GPT-2s.
        base_rows, guide_rows, pairs, rewards: how many of each to train on.
        beta: DPO's; the implicit reward is the log-ratio times this.
        sft, dpo, fudge: the schedules; base and untuned share the first.
    """

    vocab: int = 1300
    positions: int = 256
    base: tuple[int, int, int] = (136, 4, 4)
    guide: tuple[int, int, int] = (96, 2, 4)
    base_rows: int = 9000
    guide_rows: int = 5000
    pairs: int = 2500
    rewards: int = 8000
    beta: float = 0.1
    sft: Schedule = field(default_factory=lambda: Schedule(batch_size=8, learning_rate=3e-3))
    dpo: Schedule = field(default_factory=lambda: Schedule(batch_size=16, learning_rate=4e-4))
    fudge: Schedule = field(default_factory=lambda: Schedule(batch_size=16, learning_rate=2e-3))


def train_base(recipe: EmbeddedRecipe, folder: Path, progress: Progress) -> None:
    """Train the base on the corpus and save it into ``folder/base``."""
    from guiders.training import sft

    tokenizer = _tokenizer(recipe)
    model = sft.train(
        _gpt2(recipe, recipe.base, tokenizer, seed=0),
        tokenizer,
        _documents(recipe.base_rows, seed=0),
        recipe.sft,
        progress=progress,
        stage="base",
    )
    _save(model, tokenizer, folder / "base")


def train_guides(recipe: EmbeddedRecipe, folder: Path, progress: Progress) -> None:
    """Train untuned (SFT), tuned (DPO from it) and value (FUDGE, from its backbone) and save them into ``folder``."""
    from guiders.models.value_model import ValueModel
    from guiders.training import dpo, fudge, sft
    from tasks.reviews import data

    tokenizer = _tokenizer(recipe)
    untuned: Any = sft.train(
        _gpt2(recipe, recipe.guide, tokenizer, seed=1),
        tokenizer,
        _documents(recipe.guide_rows, seed=1),
        recipe.sft,
        progress=progress,
        stage="untuned",
    )
    _save(untuned, tokenizer, folder / "untuned")
    value = ValueModel.from_config(copy.deepcopy(untuned.config))
    value.backbone.load_state_dict(untuned.base_model.state_dict())
    fudge.train(value, tokenizer, data.rewards(recipe.rewards, seed=2), recipe.fudge, progress=progress, stage="value")
    _save(value, tokenizer, folder / "value")
    tuned = dpo.train(
        untuned,
        tokenizer,
        data.pairs(recipe.pairs, seed=3),
        recipe.dpo,
        beta=recipe.beta,
        progress=progress,
        stage="tuned",
    )
    _save(tuned, tokenizer, folder / "tuned")


def _tokenizer(recipe: EmbeddedRecipe) -> "PreTrainedTokenizerFast":
    from guiders.training import tokenizer
    from tasks.reviews import data

    return tokenizer.train(data.corpus(3000, seed=0), recipe.vocab)


def _documents(rows: int, seed: int) -> list[dict]:
    """Whole reviews; every fourth follows an end-of-text token, as a text whose first token is to be scored does."""
    from guiders.training.tokenizer import END
    from tasks.reviews import data

    texts = data.corpus(rows, seed=seed)
    return [{"prompt": "" if number % 4 else END, "response": text} for number, text in enumerate(texts)]


def _gpt2(
    recipe: EmbeddedRecipe, shape: tuple[int, int, int], tokenizer: "PreTrainedTokenizerFast", seed: int
) -> "GPT2LMHeadModel":
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    width, layers, heads = shape
    dropout: dict[str, Any] = dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), 0.0)
    end = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=recipe.positions,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        activation_function="gelu_pytorch_tanh",  # gelu_new in one kernel
        **dropout,
    )
    torch.manual_seed(seed)
    return GPT2LMHeadModel(config)


def _save(model: Any, tokenizer: "PreTrainedTokenizerFast", folder: Path) -> None:
    (getattr(model, "save_pretrained", None) or model.save)(folder)
    tokenizer.save_pretrained(folder)
