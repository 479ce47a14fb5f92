"""The judge that needs no API: Bradley-Terry on a reward."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.records.judgement import Judgement, Pair

RewardFunction = Callable[[Sequence[tuple[str, str]]], list[float]]


def bradley_terry(reward_baseline: float, reward_model: float) -> float:
    """The preference for the model's response: 1 + sigmoid(reward_model - reward_baseline), in [1, 2].

    Bradley and Terry (1952), with the rewards as log-strengths: the probability that the model's response is preferred
    is exp(r_model) / (exp(r_model) + exp(r_baseline)).

    Raises:
        ValueError: a reward that is not a finite number.
    """
    if not (math.isfinite(reward_baseline) and math.isfinite(reward_model)):
        raise ValueError(f"rewards are finite numbers, not {reward_baseline} and {reward_model}")
    difference = reward_model - reward_baseline
    if difference >= 0:
        return 1 + 1 / (1 + math.exp(-difference))
    return 1 + math.exp(difference) / (1 + math.exp(difference))


class RewardJudge:
    """Judges pairs of responses by their rewards.

    Args:
        name: who is named as the judge in every judgement.
        reward: the rewards of (instruction, response) pairs, in their order; None where the caller has the rewards and
            calls `compare`.
    """

    def __init__(self, name: str = "reward", reward: RewardFunction | None = None):
        self.name, self._reward = name, reward

    def judge(self, pairs: Sequence[Pair], baseline: str, folder: Path) -> list[Judgement]:
        """The judgements of the pairs, in their order. Nothing is stored in the folder: rewards cost no money."""
        assert self._reward is not None
        baselines = self._reward([(pair.instruction, pair.baseline) for pair in pairs])
        models = self._reward([(pair.instruction, pair.response) for pair in pairs])
        return [
            self.compare(pair.key, (pair.baseline, pair.response), rewards, baseline)
            for pair, rewards in zip(pairs, zip(baselines, models, strict=True), strict=True)
        ]

    def compare(
        self, key: str, responses: tuple[str, str], rewards: tuple[float | None, float | None], baseline: str
    ) -> Judgement:
        """One judgement; ``responses`` and ``rewards`` are (baseline's, model's).

        Equal responses come to 1.5 whatever their rewards. A reward that is None or not finite gives a missing
        judgement with its reason.
        """
        preference, reason = None, None
        if responses[0] == responses[1]:
            preference = 1.5
        else:
            first, second = rewards
            if first is None or second is None or not (math.isfinite(first) and math.isfinite(second)):
                reason = "a response without a finite reward"
            else:
                preference = bradley_terry(first, second)
        return Judgement(key, preference, self.name, baseline, len(responses[0]), len(responses[1]), reason)
