"""Rewards of responses: from a reward model, or the task's own gold reward."""

import importlib
import importlib.util
from collections.abc import Sequence

from guiders.errors import GuiderError
from harness.errors import UserError
from harness.judges.reward import RewardFunction
from harness.models.device import checked


class RewardModel:
    """A sequence classifier, or a value model, that gives a response to a prompt its reward (`guiders.Classifier`).

    Args:
        path: a folder or a hub name; its weights are safetensors and are read when first needed; no code that comes
            with it is run.
        template: with {prompt} and {response}; None: the tokenizer's chat template, or a pair of texts without one.
        batch_size: texts to a forward pass.
        option: what messages call it.

    Raises:
        UserError: no such model, or no such device.
    """

    def __init__(
        self,
        path: str,
        revision: str | None = None,
        batch_size: int = 8,
        device: str = "cpu",
        template: str | None = None,
        option: str = "judge.model",
    ):
        from guiders import Classifier

        try:
            self.classifier = Classifier.load(path, revision=revision, template=template, device=checked(device))
        except GuiderError as error:
            raise UserError(f"{option}={path}: {error}") from None
        self.classifier.batch_size = batch_size

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The rewards of (prompt, response) pairs, in their order.

        Raises:
            GuiderError: no safetensors, or a model with more than two labels.
        """
        return self.classifier.rewards(pairs).tolist()


class RewardModels:
    """The reward models of one run: whoever asks for the same one gets the same weights."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str | None, str, str | None], RewardModel] = {}

    def get(
        self,
        path: str,
        revision: str | None = None,
        batch_size: int = 8,
        device: str = "cpu",
        template: str | None = None,
        option: str = "judge.model",
    ) -> RewardModel:
        """The reward model of these settings, as `RewardModel` takes them; the first one's batch size counts."""
        key = (path, revision, device, template)
        if key not in self._models:
            self._models[key] = RewardModel(path, revision, batch_size, device, template, option)
        return self._models[key]


def gold_reward(task: str | None) -> RewardFunction:
    """The exact reward of an embedded task: ``gold_reward(text)`` of ``tasks/TASK/gold.py``, of prompt + response.

    Raises:
        UserError: the task has none.
    """
    module = f"tasks.{task}.gold"
    if not task or not task.isidentifier() or importlib.util.find_spec(f"tasks.{task}") is None:
        raise UserError(f"task={task} has no gold reward; name a reward model with judge.model")
    if importlib.util.find_spec(module) is None:
        raise UserError(f"task={task} has no gold reward; name a reward model with judge.model")
    gold = importlib.import_module(module).gold_reward
    return lambda pairs: [float(gold(prompt + response)) for prompt, response in pairs]
