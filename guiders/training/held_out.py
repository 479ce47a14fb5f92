"""How good a trained model is on rows that it has not seen: a value's R² and pairwise accuracy at fractions of the
response, a language model's likelihood, a pair's and a reward model's agreement with the preferences."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from guiders.models.value_model import ValueModel
from guiders.training import reward
from guiders.training.fudge import collate, encode
from guiders.training.sft import encode as encode_text

if TYPE_CHECKING:
    from peft import PeftModel

FRACTIONS = (0.25, 0.5, 0.75, 1.0)


@torch.no_grad()
def evaluate(
    model: ValueModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict],
    *,
    max_length: int = 1024,
    batch_size: int = 64,
) -> dict[str, dict[float, float]]:
    """Compare the values of prefixes with the final rewards.

    Args:
        rows: ``{"prompt", "response", "reward"}``, at least two of them with different rewards.

    Returns:
        ``{"r2": {fraction: R²}, "pairwise": {fraction: accuracy}}`` with the fractions 0.25, 0.5, 0.75 and 1 of each
        response (rounded up to a token; the end-of-text token counts). R² is ``1 − Σ(V − r)² / Σ(r − mean r)²``; the
        accuracy is the share of all pairs with different rewards that the value orders alike, a tie counting half.

    Raises:
        GuiderError: as ``fudge.train``.
    """
    encoded = encode(tokenizer, rows, max_length)
    found = []
    for at in range(0, len(encoded), batch_size):
        ids, mask, starts, _ = collate(encoded[at : at + batch_size], tokenizer.pad_token_id, model.device)
        values = model.prefix_values(ids, mask, starts)
        lengths = mask.sum(-1) - starts
        columns = [starts + (lengths * fraction).ceil().long().clamp(min=1) - 1 for fraction in FRACTIONS]
        found.append(values.gather(1, torch.stack(columns, dim=1)))
    values = torch.cat(found).double().cpu()
    rewards = torch.tensor([reward for _, _, reward in encoded], dtype=torch.float64)
    spread = (rewards - rewards.mean()).square().sum()
    r2 = 1 - (values - rewards[:, None]).square().sum(0) / spread
    return {
        "r2": dict(zip(FRACTIONS, r2.tolist(), strict=True)),
        "pairwise": {fraction: _pairwise(values[:, i], rewards) for i, fraction in enumerate(FRACTIONS)},
    }


def _pairwise(values: torch.Tensor, rewards: torch.Tensor) -> float:
    better = rewards[:, None] > rewards[None, :]
    margin = values[:, None] - values[None, :]
    right = (margin > 0).double() + 0.5 * (margin == 0).double()
    return (right[better].sum() / better.sum()).item()


def likelihood(
    model: "PreTrainedModel | PeftModel",
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict],
    *,
    max_length: int = 1024,
) -> dict[str, float]:
    """``{"loss": nats per response token, "perplexity": exp(loss)}`` of rows ``{"prompt", "response"}``."""
    sums, counts = zip(*_log_probs(model, tokenizer, rows, "response", max_length), strict=True)
    loss = -torch.cat(sums).sum() / torch.cat(counts).sum()
    return {"loss": loss.item(), "perplexity": loss.exp().item()}


def log_probs(
    model: "PreTrainedModel | PeftModel",
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict],
    column: str,
    *,
    max_length: int = 1024,
) -> torch.Tensor:
    """``log π(y|x)`` of a column's responses, the end-of-text token included: ``[rows]``, float64."""
    return torch.cat([sums for sums, _ in _log_probs(model, tokenizer, rows, column, max_length)])


def preference(margins: torch.Tensor) -> dict[str, float]:
    """``{"accuracy": share of positive margins (0 counts half), "margin": their mean}``.

    Args:
        margins: ``[rows]``, the reward of the chosen less that of the rejected response.
    """
    right = (margins > 0).double() + 0.5 * (margins == 0).double()
    return {"accuracy": right.mean().item(), "margin": margins.double().mean().item()}


@torch.no_grad()
def reward_margins(
    model: "PreTrainedModel | PeftModel",
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict],
    *,
    max_length: int = 1024,
    batch_size: int = 32,
) -> torch.Tensor:
    """A sequence classifier's ``r(chosen) − r(rejected)``: ``[rows]``."""
    found = []
    for at in range(0, len(rows), batch_size):
        sides = []
        for side in ("chosen", "rejected"):
            ids = [reward.encode(tokenizer, row["prompt"], row[side], max_length) for row in rows[at : at + batch_size]]
            batch = tokenizer.pad({"input_ids": ids}, padding_side="right", return_tensors="pt").to(model.device)
            out = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
            sides.append(out.logits[:, 0].double().cpu())
        found.append(sides[0] - sides[1])
    return torch.cat(found)


@torch.no_grad()
def _log_probs(
    model: "PreTrainedModel | PeftModel",
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[dict],
    column: str,
    max_length: int,
    batch_size: int = 32,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batch by batch: the responses' summed log-probabilities and their numbers of tokens, ``[rows]`` each."""
    for at in range(0, len(rows), batch_size):
        encoded = [encode_text(tokenizer, row["prompt"], row[column], max_length) for row in rows[at : at + batch_size]]
        width = max(len(row["input_ids"]) for row in encoded)
        pads = [width - len(row["input_ids"]) for row in encoded]
        ids = torch.tensor([row["input_ids"] + [0] * pad for row, pad in zip(encoded, pads, strict=True)])
        labels = torch.tensor([row["labels"] + [-100] * pad for row, pad in zip(encoded, pads, strict=True)])[:, 1:]
        # padding stands on the right: what a causal model says before it does not see it
        logits = model(input_ids=ids.to(model.device)).logits[:, :-1].cpu()
        known = labels != -100
        chosen = logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0].double()
        yield chosen.masked_fill(~known, 0).sum(-1), known.sum(-1)
