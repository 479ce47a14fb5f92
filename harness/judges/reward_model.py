"""Rewards of responses: from a reward model, or the task's own gold reward."""

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from guiders.errors import GuiderError
from harness.backends.protocol import Batch, Item, RewardModelSpec
from harness.errors import UserError
from harness.judges.reward import RewardFunction
from harness.models.device import checked


class RewardModel:
    """A sequence classifier, or a value model, that gives a response to a prompt its reward (`guiders.Classifier`).

    Pairs are scored in batches of texts of about one length; a batch is one forward pass, wherever it is made, so that
    rewards do not depend on where they are computed.

    Args:
        path: a folder or a hub name; its weights are safetensors and are read when first needed; no code that comes
            with it is run.
        template: with {prompt} and {response}; None: the tokenizer's chat template, or a pair of texts without one.
        batch_size: texts to a forward pass.
        option: what messages call it.
        elsewhere: scores batches in other processes (`harness.backends.protocol.Backend.run`); None: here.

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
        elsewhere: "Elsewhere | None" = None,
    ):
        from guiders import Classifier

        try:
            device = device if elsewhere else checked(device)
            self.classifier = Classifier.load(path, revision=revision, template=template, device=device)
        except GuiderError as error:
            raise UserError(f"{option}={path}: {error}") from None
        self.spec = RewardModelSpec(path, revision, device, template, option)
        self.batch_size, self._elsewhere = batch_size, elsewhere

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The rewards of (prompt, response) pairs, in their order.

        Raises:
            GuiderError: no safetensors, or a model with more than two labels.
        """
        batches = self.batches(pairs, self.spec.option)
        run: Elsewhere = self._elsewhere or (lambda items: ((one, self.score(one.pairs)) for one in batches))
        found: dict[int, float] = {}
        for batch, rewards in run(batches):
            assert isinstance(batch, Batch)
            found |= zip(batch.places, rewards, strict=True)
        return [found[place] for place in range(len(pairs))]

    def batches(self, pairs: Sequence[tuple[str, str]], trial: str) -> list[Batch]:
        """The pairs in batches, texts of about one length together.

        Args:
            trial: whose responses they are.
        """
        order = sorted(range(len(pairs)), key=lambda place: sum(map(len, pairs[place])))
        cuts = [tuple(order[start : start + self.batch_size]) for start in range(0, len(order), self.batch_size)]
        return [Batch(trial, self.spec, places, tuple(pairs[place] for place in places)) for places in cuts]

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The rewards of a batch, in one forward pass in this process.

        Raises:
            GuiderError: as above.
        """
        self.classifier.batch_size = max(1, len(pairs))
        return self.classifier.rewards(pairs).tolist()


Elsewhere = Callable[[Iterable[Item]], Iterator[tuple[Item, list[Any]]]]


class RewardModels:
    """The reward models of one run: whoever asks for the same one gets the same weights.

    Attributes:
        elsewhere: see `RewardModel`; of the models that are asked for from then on.
    """

    def __init__(self) -> None:
        self.elsewhere: Elsewhere | None = None
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
            self._models[key] = RewardModel(path, revision, batch_size, device, template, option, self.elsewhere)
        return self._models[key]

    def of(self, spec: RewardModelSpec) -> RewardModel:
        """The reward model that a batch names."""
        return self.get(spec.path, spec.revision, device=spec.device, template=spec.template, option=spec.option)


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
