"""The guided model inside lm-eval: the registered model ``ivg``."""

import itertools
import json
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lm_eval.api.instance import Instance
from lm_eval.utils import simple_parse_args_string

from harness.adapters.lm_eval_likelihood import check_continuations, log_likelihoods, rolling_windows, under_templates
from harness.adapters.lm_eval_prompts import PromptingLM
from harness.adapters.lm_eval_sampling import sampling_of
from harness.adapters.lm_eval_seeds import torch_seed
from harness.adapters.model_args import overrides
from harness.backends.protocol import Asked
from harness.backends.serial import generations
from harness.config.prompt_step import PromptStep
from harness.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from guiders import LM, Guider, Sampling


class GuidedLM(PromptingLM):
    """A guider as an lm-eval model.

    ``generate_until`` decodes with the whole guider. ``loglikelihood`` and ``loglikelihood_rolling`` are exact under
    the token-guided distribution; a search has no normalised distribution, so a guider with one refuses them.

    Unguided, texts and numbers are those of lm-eval's ``hf``. A prompt that is too long loses its beginning, and is
    counted: in the log, and as ``truncated_prompts`` in the results.

    Args:
        rolling_bos: ``loglikelihood_rolling`` also scores the start token that the tokenizer puts before a text, as
            ``hf`` does; False: each token of the text, and nothing else.
        **arguments: overrides of the sweep's configuration, as in ``preset=embedded,guider=ivg,grid.weight=2``; the
            grid must come to one setting, or hold the guider's default one (`harness.trials.one_guider.one_guider`).
            ``batch_size`` and ``device`` are lm-eval's own. Built by lm-eval (``simple_evaluate``, ``lm_eval``), the
            random streams have the seed that lm-eval has given torch (``--seed``, its third), unless ``seeds`` is set.

    Raises:
        UserError: bad overrides, or a grid of several settings without the default one.
    """

    _batch_tokens: int | None

    def __init__(self, rolling_bos: bool = True, **arguments: Any):
        from harness.trials.one_guider import one_guider

        chosen = one_guider(overrides(arguments))
        self._start(lambda: chosen.pool.guider(chosen.config), chosen.sampling, chosen.seed, chosen.info)
        self._batch_tokens, self._prompt = chosen.batch_tokens, chosen.prompt
        self._rolling_bos = rolling_bos

    @classmethod
    def create_from_arg_obj(cls, arg_dict: dict[str, Any], additional_config: dict | None = None) -> "GuidedLM":
        """How lm-eval builds a model, from a dict of arguments; just before, it has seeded torch."""
        more = {name: value for name, value in (additional_config or {}).items() if value is not None}
        return cls(**{"seeds": torch_seed(), **arg_dict, **more})

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict | None = None) -> "GuidedLM":
        """The same from ``NAME=VALUE,NAME=VALUE``."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def of(
        cls,
        load: Callable[[], "Guider"],
        sampling: dict,
        seed: int,
        info: dict,
        batch_tokens: int | None = None,
        on_long_prompt: str = "truncate",
        prompt: PromptStep | None = None,
    ) -> "GuidedLM":
        """A model over a guider that is loaded only when it is needed.

        Args:
            load: gives the guider.
            sampling: temperature, top_k, top_p, max_new_tokens (each null: as the request says), stop, and where the
                random numbers have one, their purpose.
            info: what ``get_model_info`` tells.
            on_long_prompt: "error" or "truncate".
            prompt: the step that puts prompts into a template.
        """
        model = cls.__new__(cls)
        model._start(load, sampling, seed, info)
        model._batch_tokens, model._on_long_prompt, model._prompt = batch_tokens, on_long_prompt, prompt or PromptStep()
        return model

    def _start(self, load: Callable[[], "Guider"], sampling: dict, seed: int, info: dict) -> None:
        PromptingLM.__init__(self)
        self._load, self._sampling, self._seed, self._info = load, sampling, seed, info
        self._guider: Guider | None = None
        self._batch_tokens = None
        self._on_long_prompt, self._prompt = "truncate", PromptStep()
        self._rolling_bos, self._truncated = True, 0

    @property
    def guider(self) -> "Guider":
        if self._guider is None:
            self._guider = self._load()
        return self._guider

    @property
    def base(self) -> "LM":
        return self.guider.base

    @property
    def _field(self) -> str | None:
        """The field of a document that the guider's constraint reads."""
        return getattr(self.guider.constraint, "field", None)

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase | None":
        """The base's tokenizer; None while no request has needed the models, so that asking does not load them."""
        return None if self._guider is None else self._guider.base.tokenizer

    def get_model_info(self) -> dict:
        """The guider's settings and revisions, for lm-eval's results, and how many prompts were too long."""
        return {**self._info, "truncated_prompts": self._truncated}

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """A response for every request, in order.

        Requests with the same generation settings are decoded together. The n-th request for one and the same prompt
        (lm-eval's ``repeats``) draws from the n-th random stream.
        """
        groups: dict[tuple[str, int], list[int]] = {}
        seen: dict[tuple[str, str], int] = {}
        for place, request in enumerate(requests):
            context, kwargs = request.args
            settings = json.dumps(kwargs, sort_keys=True)
            repeat = seen.get((context, settings), 0)
            seen[context, settings] = repeat + 1
            groups.setdefault((settings, repeat), []).append(place)
        responses: dict[int, str] = {}
        for (settings, repeat), members in groups.items():
            sampling = self.sampling(json.loads(settings), repeat)
            asked = [self.asked(requests[at].args[0], requests[at].doc, self._field) for at in members]
            texts = self._generate(asked, sampling)
            responses.update(zip(members, texts, strict=True))
        for place, request in enumerate(requests):
            self.cache_hook.add_partial("generate_until", request.args, responses[place])
        return [responses[place] for place in range(len(requests))]

    def sampling(self, gen_kwargs: dict, repeat: int = 0) -> "Sampling":
        """See `harness.adapters.lm_eval_sampling.sampling_of`."""
        ours = {**self._sampling, "stop": [*self._sampling.get("stop", ()), *self._prompt.stop]}
        return sampling_of(gen_kwargs, ours, self._seed, repeat)

    def _generate(self, prompts: Sequence[Asked], sampling: "Sampling") -> list[str]:
        long = self._on_long_prompt
        prompts = [self._prompt.asked(one) for one in prompts]
        found = generations(self.guider, prompts, sampling, self._batch_tokens, on_long_prompt=long)
        self._count_truncated(sum(generation.truncated > 0 for generation in found), len(found))
        return [generation.text for generation in found]

    def _count_truncated(self, truncated: int, of: int) -> None:
        self._truncated += truncated
        if truncated:
            logging.getLogger(__name__).warning(
                "%d of %d prompts were too long for the context and lost their beginning, as with lm-eval's hf",
                truncated,
                of,
            )

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-likelihoods of continuations, and whether greedy decoding writes them.

        Contexts and continuations are tokenised as lm-eval does for ``hf``; where a model has a template, each model
        reads the context in its own.
        """
        check_continuations(requests)
        if not any(lm.template for lm in self.guider.models):
            return super().loglikelihood(requests, disable_tqdm)
        return self._loglikelihood_tokens(
            under_templates(self.guider.base, requests, lambda context: self.asked(context).prompt)
        )

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, Any, list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        if self._prompt.template is not None:
            raise UserError("prompt: log-likelihoods are of the task's own text; set prompt=none, or ask for responses")
        found, truncated = log_likelihoods(self.guider, requests)
        self._count_truncated(truncated, len(found))
        return found

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of whole texts, each token predicted once from as much context as fits."""
        texts = [self.tok_encode(request.args[0], None if self._rolling_bos else False) for request in requests]
        windows = [rolling_windows(tokens, self.prefix_token_id, self.max_length) for tokens in texts]
        values = iter(value for value, _ in self._loglikelihood_tokens([pair for some in windows for pair in some]))
        return [sum(itertools.islice(values, len(some))) for some in windows]


def register() -> None:
    """Make ``--model ivg`` known to lm-eval in this process."""
    from lm_eval.api.registry import model_registry

    if "ivg" not in model_registry:
        model_registry.register("ivg", target="harness.adapters.lm_eval:GuidedLM")
