"""A gold reward that is a model: it scores every response of a trial beside the task's own scores."""

from collections.abc import Mapping

from harness.errors import UserError

METRIC = "gold_reward"

Scored = list[tuple[str, dict[str, float]]]


def with_gold_reward(scored: Scored, rewards: Mapping[str, float]) -> Scored:
    """The scores with the reward of each prompt's response, as the score ``gold_reward``.

    Args:
        rewards: by the prompt's text.

    Raises:
        UserError: the task scores a ``gold_reward`` of its own.
    """
    if scored and METRIC in scored[0][1]:
        raise UserError(f"task.gold: the task has a {METRIC} of its own; set task.gold.path=null")
    return [(text, {**scores, METRIC: rewards[text]}) for text, scores in scored]
