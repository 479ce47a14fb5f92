"""Rewards of responses: from a sequence-classification model, or the task's own gold reward."""

import importlib
import importlib.util
from collections.abc import Sequence

from harness.errors import UserError
from harness.judges.reward import Reward
from harness.models.device import checked


class RewardModel:
    """A sequence-classification reward model of transformers with one output.

    The instruction and the response go through the tokenizer's chat template; where it has none, as a pair of texts.

    Args:
        model: a folder or a hub name; its weights must be safetensors, and no code that comes with it is run.

    Raises:
        UserError: the model can't be loaded, or has not exactly one output.
    """

    def __init__(self, model: str, revision: str | None = None, batch_size: int = 8, device: str = "cpu"):
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        checked(device)
        options = {"revision": revision, "trust_remote_code": False}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(model, **options)
            loaded = AutoModelForSequenceClassification.from_pretrained(model, use_safetensors=True, **options)
        except (OSError, ValueError) as error:
            raise UserError(f"judge.model={model} can't be loaded: {str(error).splitlines()[0]}") from None
        if loaded.config.num_labels != 1:
            raise UserError(f"judge.model={model} has {loaded.config.num_labels} outputs; a reward model has one")
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        loaded.config.pad_token_id = self._tokenizer.pad_token_id
        self._model = loaded.to(device).eval()
        self._batch_size, self._device = batch_size, device

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The rewards of (instruction, response) pairs; batched by length, so that little is spent on padding."""
        import torch

        order = sorted(range(len(pairs)), key=lambda place: sum(map(len, pairs[place])))
        rewards = [0.0] * len(pairs)
        for start in range(0, len(order), self._batch_size):
            places = order[start : start + self._batch_size]
            with torch.inference_mode():
                logits = self._model(**self._encode([pairs[place] for place in places])).logits
            for place, reward in zip(places, logits[:, 0].float().tolist(), strict=True):
                rewards[place] = reward
        return rewards

    def _encode(self, pairs: Sequence[tuple[str, str]]):
        if self._tokenizer.chat_template is None:
            texts, options = ([x for x, _ in pairs], [y for _, y in pairs]), {}
        else:
            chats = [[{"role": "user", "content": x}, {"role": "assistant", "content": y}] for x, y in pairs]
            texts = (self._tokenizer.apply_chat_template(chats, tokenize=False),)
            options = {"add_special_tokens": False}  # the template writes them
        return self._tokenizer(*texts, return_tensors="pt", padding=True, **options).to(self._device)


def gold_reward(task: str | None) -> Reward:
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
