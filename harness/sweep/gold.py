"""A gold reward that is a model: it scores every response of a trial beside the task's own scores."""

from collections.abc import Mapping

from harness.config.schema import Gold
from harness.errors import UserError
from harness.models.pool import Resolver

METRIC = "gold_reward"

Scored = list[tuple[str, dict[str, float]]]


class GoldReward:
    """The reward of prompt and response by a sequence classifier or a value model, as the score ``gold_reward``.

    Args:
        spec: the model. device: where it is put; the weights are read at the first response.
    """

    def __init__(self, spec: Gold, resolver: Resolver, device: str):
        from guiders import Classifier

        path = resolver.folder(spec.model_dump(), "task.gold")
        self.model = Classifier.load(path, revision=spec.revision, template=spec.template, device=device)

    def added(self, scored: Scored, responses: Mapping[str, str]) -> Scored:
        """The scores with the reward of each prompt's response.

        Raises:
            UserError: the task scores a ``gold_reward`` of its own.
        """
        if scored and METRIC in scored[0][1]:
            raise UserError(f"task.gold: the task has a {METRIC} of its own; set task.gold.path=null")
        texts = list(dict.fromkeys(text for text, _ in scored))
        rewards = self.model.rewards([(text, responses[text]) for text in texts]).tolist()
        by_text = dict(zip(texts, rewards, strict=True))
        return [(text, {**scores, METRIC: by_text[text]}) for text, scores in scored]
