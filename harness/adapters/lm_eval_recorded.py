"""Recorded responses as an lm-eval model: what scores them is lm-eval, and nothing is decoded for it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from lm_eval.api.instance import Instance

from harness.adapters.lm_eval_prompts import PromptingLM

if TYPE_CHECKING:
    from guiders import LM


class RecordedLM(PromptingLM):
    """Answers every request from a table of responses.

    Args:
        base: the model whose chat template the prompts go through; its weights are not read.
        responses: prompt's text -> response.
        info: what ``get_model_info`` tells.
    """

    def __init__(self, base: "LM", responses: Mapping[str, str], info: dict[str, Any] | None = None):
        super().__init__()
        self._base, self.responses, self._info = base, responses, info or {}

    @property
    def base(self) -> "LM":
        return self._base

    def get_model_info(self) -> dict[str, Any]:
        return dict(self._info)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The recorded response to every request, in order.

        Raises:
            RuntimeError: a prompt that was not asked: the task has made another prompt of a document than before.
        """
        found = []
        for request in requests:
            text = self.asked(request.args[0]).text
            if text not in self.responses:
                where = f"task {request.task_name}, document {request.doc_id}"
                raise RuntimeError(f"{where}: its prompt is another than the one that was decoded: {text[:60]!r}")
            found.append(self.responses[text])
        return found

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> NoReturn:
        raise NotImplementedError("records hold responses, and no log-likelihoods")

    def _loglikelihood_tokens(self, requests: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError("records hold responses, and no log-likelihoods")

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> NoReturn:
        raise NotImplementedError("records hold responses, and no log-likelihoods")
