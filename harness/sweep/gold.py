"""A gold reward that is a model: it scores every response of a trial beside the task's own scores."""

from collections.abc import Mapping

from harness.errors import UserError
from harness.judges.reward import RewardFunction

METRIC = "gold_reward"

Scored = list[tuple[str, dict[str, float]]]


def with_gold_reward(scored: Scored, responses: Mapping[str, str], reward: RewardFunction) -> Scored:
    """The scores with the reward of each prompt's response, as the score ``gold_reward``.

    Raises:
        UserError: the task scores a ``gold_reward`` of its own.
    """
    if scored and METRIC in scored[0][1]:
        raise UserError(f"task.gold: the task has a {METRIC} of its own; set task.gold.path=null")
    texts = list(dict.fromkeys(text for text, _ in scored))
    by_text = dict(zip(texts, reward([(text, responses[text]) for text in texts]), strict=True))
    return [(text, {**scores, METRIC: by_text[text]}) for text, scores in scored]
