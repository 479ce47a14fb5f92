"""A base from nothing: a small GPT-2 with random weights, and a byte-level BPE that is learned from the rows."""

import re
from pathlib import Path

from harness.errors import UserError

NEW = re.compile(r"new:(\d+)x(\d+)x(\d+)x(\d+)")


def is_new(path: str) -> bool:
    """Whether a model is to be made, as ``new:WIDTHxLAYERSxHEADSxVOCABULARY``."""
    return path.startswith("new:")


def make(path: str, rows: list[dict], positions: int, seed: int, folder: Path) -> str:
    """Write the model and its tokenizer, once.

    Args:
        path: ``new:192x4x6x2000`` is 4 layers of width 192 with 6 heads, and 2,000 tokens.
        rows: whose texts the tokenizer is learned from.
        positions: tokens of the longest text.

    Returns:
        The folder.

    Raises:
        UserError: another form; a width that the heads don't divide; a vocabulary without room for all bytes.
    """
    match = NEW.fullmatch(path)
    width, layers, heads, vocabulary = map(int, match.groups()) if match else (0, 0, 0, 0)
    if not match or not layers or not heads or not width or width % heads or vocabulary < 257:
        raise UserError(
            f"base={path}: not a model; write new:WIDTHxLAYERSxHEADSxVOCABULARY, such as new:192x4x6x2000 "
            "(the heads divide the width, the vocabulary is at least 257)"
        )
    if (folder / "config.json").exists():
        return str(folder)
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from guiders.training import tokenizer

    columns = ("response", "chosen", "rejected")
    texts = [row["prompt"] + row[name] for row in rows for name in columns if name in row]
    learned = tokenizer.train(texts, vocabulary)
    end = learned.eos_token_id
    config = GPT2Config(
        vocab_size=len(learned),
        n_positions=positions,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
    )
    torch.manual_seed(seed)
    learned.save_pretrained(folder)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return str(folder)
