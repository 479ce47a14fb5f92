"""Training of an explicit value by FUDGE (Yang and Klein, 2021): every prefix predicts the response's final reward.

The minimiser of ``½ mean_t (V(x, y≤t) − r(x, y))²`` is the conditional expectation ``E[r | x, y≤t]`` under the policy
that wrote the responses (Liu et al., 2024, equation 9); with rewards of 0 and 1, the per-prefix binary cross-entropy
has the log-odds of the same expectation as its minimiser.
"""

import math
import random
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from transformers import PreTrainedTokenizerBase

from guiders.errors import GuiderError
from guiders.models.value_model import ValueModel
from guiders.training.checkpoint import Checkpoints
from guiders.training.run import check_rows
from guiders.training.schedule import Progress, Schedule

COLUMNS = ("prompt", "response", "reward")
LOSSES = ("mse", "bce")


def train(
    model: ValueModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict],
    schedule: Schedule,
    *,
    loss: str | None = None,
    max_length: int = 1024,
    progress: Progress | None = None,
    stage: str = "fudge",
    checkpoints: Checkpoints | None = None,
) -> ValueModel:
    """Regress every prefix of a response, the one that ends with the end-of-text token included, on its reward.

    Args:
        model: a value model with either head; trained in place.
        tokenizer: the backbone's.
        rows: ``{"prompt", "response", "reward"}``, the reward a finite number.
        loss: "mse", "bce" (rewards in 0..1; the values are log-odds), or None: "bce" where all rewards are 0 or 1.
        max_length: in tokens; what stands after is cut.
        checkpoints: kept while training; a training that finds one goes on from it, with the same data order.

    Returns:
        The model, in evaluation mode.

    Raises:
        GuiderError: no rows, a row without a column or with a reward that is no finite number, an unknown loss, or
            rewards outside 0..1 with "bce".
    """
    encoded = encode(tokenizer, rows, max_length)
    rewards = [reward for _, _, reward in encoded]
    loss = loss or ("bce" if set(rewards) == {0.0, 1.0} else "mse")
    if loss not in LOSSES:
        raise GuiderError(f"loss={loss!r} is unknown; choose one of {', '.join(LOSSES)}")
    if loss == "bce" and not all(0 <= reward <= 1 for reward in rewards):
        raise GuiderError("loss=bce needs rewards between 0 and 1; choose loss=mse or scale the rewards")
    order = random.Random(schedule.seed)
    total = schedule.epochs * math.ceil(len(encoded) / schedule.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
    model.train()
    done = checkpoints.restore(model, optimizer) if checkpoints else 0
    step = 0
    for _ in range(schedule.epochs):
        for batch in _batches(encoded, schedule.batch_size, order):
            if step < done:
                step += 1
                continue
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate * _cosine(step, total, schedule.warmup)
            ids, mask, starts, targets = collate(batch, tokenizer.pad_token_id, model.device)
            values = model.prefix_values(ids, mask, starts)
            objective = _loss(values, targets, loss)
            optimizer.zero_grad()
            objective.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
            if progress is not None:
                progress(stage, step, total, objective.item())
            if checkpoints and step % checkpoints.every == 0:
                checkpoints.save(step, model, optimizer)
    return model.eval()


def encode(
    tokenizer: PreTrainedTokenizerBase, rows: list[dict], max_length: int = 1024
) -> list[tuple[list[int], int, float]]:
    """Rows as (token ids with the end-of-text token, column where the response begins, reward).

    Raises:
        GuiderError: see ``train``.
    """
    check_rows(rows, COLUMNS)
    encoded = []
    for number, row in enumerate(rows, 1):
        reward = row["reward"]
        if not isinstance(reward, (int, float)) or not math.isfinite(reward):
            raise GuiderError(f"row {number} has the reward {reward!r}; give a finite number")
        prompt = tokenizer(row["prompt"])["input_ids"] if row["prompt"] else []
        response = tokenizer(row["response"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        if len(prompt) >= max_length:
            raise GuiderError(
                f"row {number}: its prompt has {len(prompt)} tokens, max_length is {max_length}; raise it"
            )
        encoded.append(((prompt + response)[:max_length], len(prompt), float(reward)))
    return encoded


def collate(
    batch: list[tuple[list[int], int, float]], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pad on the right: ids ``[rows, length]``, mask ``[rows, length]``, starts ``[rows]``, rewards ``[rows]``."""
    length = max(len(ids) for ids, _, _ in batch)
    ids = torch.tensor([row + [pad] * (length - len(row)) for row, _, _ in batch], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row, _, _ in batch], device=device)
    starts = torch.tensor([start for _, start, _ in batch], device=device)
    rewards = torch.tensor([reward for _, _, reward in batch], device=device)
    return ids, mask, starts, rewards


def _loss(values: torch.Tensor, rewards: torch.Tensor, kind: str) -> torch.Tensor:
    """Mean over rows of the mean over each row's prefixes: a long response weighs no more than a short one."""
    known = ~values.isnan()
    values = values.masked_fill(~known, 0.0)
    targets = rewards[:, None].expand_as(values)
    if kind == "mse":
        each = 0.5 * (values - targets) ** 2
    else:
        each = F.binary_cross_entropy_with_logits(values, targets, reduction="none")
    each = each.masked_fill(~known, 0.0)
    return (each.sum(-1) / known.sum(-1).clamp(min=1)).mean()


def _batches(rows: list, size: int, order: random.Random) -> Iterator[list]:
    """Batches of rows of like length, both the rows and the batches in random order."""
    rows = sorted(order.sample(rows, len(rows)), key=lambda row: len(row[0]))
    batches = [rows[at : at + size] for at in range(0, len(rows), size)]
    order.shuffle(batches)
    yield from batches


def _cosine(step: int, total: int, warmup: float) -> float:
    rise = max(1, round(warmup * total))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))
