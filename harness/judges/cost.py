"""What judging will cost, before it is spent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.errors import UserError

CHARACTERS_PER_TOKEN = 4  # OpenAI's rule of thumb for English; the exact tokenizer would need a download


@dataclass(frozen=True)
class Estimate:
    """The estimated cost of requests in US dollars; ``usd`` is None where the price is unknown."""

    requests: int
    usd: float | None

    def __str__(self) -> str:
        if self.usd is None:
            return "price unknown: set judge.price.input and judge.price.output, US dollars per million tokens"
        return f"about ${self.usd:.2f}"


def estimate(bodies: Sequence[dict], prices: Mapping[str, Mapping[str, float]]) -> Estimate:
    """The cost of asking these requests, every answer taken at its longest.

    Args:
        bodies: the requests.
        prices: model -> {"input", "output"} in US dollars per million tokens.
    """
    usd = 0.0
    for body in bodies:
        price = prices.get(body["model"])
        if price is None:
            return Estimate(len(bodies), None)
        usd += price["input"] * _characters(body) / CHARACTERS_PER_TOKEN / 1e6
        usd += price["output"] * body.get("max_tokens", 0) / 1e6
    return Estimate(len(bodies), usd)


def within_budget(cost: Estimate, budget_usd: float | None) -> None:
    """Refuse to spend more than the budget.

    Raises:
        UserError: the estimate is above the budget, or there is a budget and no price to hold it against.
    """
    if budget_usd is None or cost.requests == 0:
        return
    if cost.usd is None:
        raise UserError(f"judge.budget_usd={budget_usd} can't be kept: {cost}")
    if cost.usd > budget_usd:
        raise UserError(
            f"{cost.requests} judgements cost {cost}, over judge.budget_usd={budget_usd}; raise it to go on"
        )


def _characters(body: dict) -> int:
    return len(body.get("prompt", "")) + sum(len(message["content"]) for message in body.get("messages", ()))
