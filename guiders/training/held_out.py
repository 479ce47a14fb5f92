"""How good a value is on rows that it has not seen: R² and pairwise accuracy at fractions of the response."""

import torch

from guiders.training.fudge import collate, encode
from guiders.value.model import ValueModel

FRACTIONS = (0.25, 0.5, 0.75, 1.0)


@torch.no_grad()
def evaluate(
    model: ValueModel, tokenizer, rows: list[dict], *, max_length: int = 1024, batch_size: int = 64
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
