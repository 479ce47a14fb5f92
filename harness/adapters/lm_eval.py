"""The guided model inside lm-eval: the registered model ``ivg``."""

import itertools
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import simple_parse_args_string

from harness.adapters.lm_eval_likelihood import check_continuations, log_likelihoods, rolling_windows, under_templates
from harness.adapters.lm_eval_seeds import repeat_seed, torch_seed
from harness.adapters.model_args import overrides
from harness.errors import UserError

if TYPE_CHECKING:
    from guiders import Generation, Guider, Sampling

# lm-eval's own limit for a request that names none
DEFAULT_MAX_NEW_TOKENS = 256
HANDLED = {"until", "max_gen_toks", "temperature", "do_sample", "top_k", "top_p"}

Respond = Callable[[Sequence["Asked"], "Sampling"], list[str]]


@dataclass(frozen=True)
class Asked:
    """A request's prompt.

    Attributes:
        text: what it is known by: the user's message where a chat consists of nothing else, else the whole text.
        prompt: what the guider is asked: the text, or the chat's messages, which each model puts into its own template.
    """

    text: str
    prompt: str | list[dict[str, str]]


class GuidedLM(TemplateLM):
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

    def __init__(self, rolling_bos: bool = True, **arguments: Any):
        from harness.trials.one_guider import one_guider

        chosen = one_guider(overrides(arguments))
        self._start(lambda: chosen.pool.guider(chosen.config), chosen.sampling, chosen.seed, chosen.info)
        self._batch_tokens: int | None = chosen.batch_tokens
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
    def of(cls, load: Callable[[], "Guider"], sampling: dict, seed: int, info: dict, respond: Respond) -> "GuidedLM":
        """A model over a guider that is loaded only when it is needed.

        Args:
            load: gives the guider.
            sampling: temperature, top_k, top_p, max_new_tokens (each null: as the request says), stop, and where the
                random numbers have one, their purpose.
            info: what ``get_model_info`` tells.
            respond: prompts and sampling to responses, in order.
        """
        model = cls.__new__(cls)
        model._batch_tokens = None
        model._start(load, sampling, seed, info)
        model._respond = respond
        return model

    def _start(self, load: Callable[[], "Guider"], sampling: dict, seed: int, info: dict) -> None:
        TemplateLM.__init__(self)
        self._load, self._sampling, self._seed, self._info = load, sampling, seed, info
        self._guider: Guider | None = None
        self._respond: Respond = self._generate
        self._chats: dict[str, list[dict[str, str]]] = {}
        self._rolling_bos, self._truncated = True, 0

    @property
    def guider(self) -> "Guider":
        if self._guider is None:
            self._guider = self._load()
        return self._guider

    @property
    def tokenizer(self):
        """The base's tokenizer; None while no request has needed the models, so that asking does not load them."""
        return None if self._guider is None else self._guider.base.tokenizer

    @property
    def tokenizer_name(self) -> str:
        return self.guider.base.tokenizer.name_or_path.replace("/", "__")

    @property
    def max_length(self) -> int:
        return self.guider.base.max_length

    @property
    def eot_token_id(self) -> int:
        return self.guider.base.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        tokenizer = self.guider.base.tokenizer
        return tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs) -> list[int]:
        """Token ids; a text that already starts with the token of `prefix_token_id` gets no second one."""
        tokenizer = self.guider.base.tokenizer
        if add_special_tokens is None:
            add_special_tokens = not string.startswith(tokenizer.decode(self.prefix_token_id))
        return tokenizer.encode(string, add_special_tokens=add_special_tokens)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The chat in the base model's template; an assistant's started answer is continued.

        Raises:
            UserError: the base model's tokenizer has no chat template.
        """
        tokenizer = self.guider.base.tokenizer
        if not tokenizer.chat_template:
            mend = "set task.apply_chat_template=false, or leave --apply_chat_template out"
            raise UserError(f"{tokenizer.name_or_path}: the base model has no chat template; {mend}")
        text = tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        if add_generation_prompt:
            from guiders.models.prompt import Chat

            self._chats[text] = Chat(chat_history)
        return text

    def asked(self, context: str) -> Asked:
        """The prompt behind a request's context: the messages that it was rendered from, where it was."""
        chat = self._chats.get(context)
        if chat is None:
            return Asked(context, context)
        return Asked(chat[0]["content"] if [one["role"] for one in chat] == ["user"] else context, chat)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        self.guider  # noqa: B018  (loads the tokenizer that the parent's method reads)
        return super().chat_template(chat_template)

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
            texts = self._respond([self.asked(requests[place].args[0]) for place in members], sampling)
            responses.update(zip(members, texts, strict=True))
        for place, request in enumerate(requests):
            self.cache_hook.add_partial("generate_until", request.args, responses[place])
        return [responses[place] for place in range(len(requests))]

    def sampling(self, gen_kwargs: dict, repeat: int = 0) -> "Sampling":
        """lm-eval's generation settings as ours; what our configuration sets wins over the task's.

        Raises:
            UserError: a generation setting that the decoder does not have.
        """
        from guiders import Sampling

        unknown = set(gen_kwargs) - HANDLED - {"max_new_tokens", "max_tokens", "max_completion_tokens"}
        if unknown:
            raise UserError(
                f"gen_kwargs {sorted(unknown)[0]!r}: not a setting of this decoder; it has {', '.join(sorted(HANDLED))}"
            )
        kwargs = normalize_gen_kwargs(gen_kwargs, DEFAULT_MAX_NEW_TOKENS)
        temperature = float(kwargs.get("temperature", 0.0))
        if gen_kwargs.get("do_sample") and "temperature" not in gen_kwargs:
            temperature = 1.0
        asked = {
            "temperature": temperature,
            "top_k": int(kwargs.get("top_k") or 0),
            "top_p": float(1.0 if kwargs.get("top_p") is None else kwargs["top_p"]),
            "max_new_tokens": kwargs["max_gen_toks"],
        }
        chosen = {name: asked[name] if self._sampling.get(name) is None else self._sampling[name] for name in asked}
        chosen["purpose"] = self._sampling.get("purpose", "")
        stop = dict.fromkeys([*(text for text in kwargs["until"] if text), *self._sampling.get("stop", [])])
        return Sampling(**chosen, stop=tuple(stop), seed=repeat_seed(self._seed, repeat))

    def _generate(self, prompts: Sequence[Asked], sampling: "Sampling") -> list[str]:
        found = decode(self.guider, prompts, sampling, self._batch_tokens, on_long_prompt="truncate")
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

    def _loglikelihood_tokens(self, requests: list[tuple[Any, Any, list[int]]], **kwargs) -> list[tuple[float, bool]]:
        found, truncated = log_likelihoods(self.guider, requests)
        self._count_truncated(truncated, len(found))
        return found

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of whole texts, each token predicted once from as much context as fits."""
        texts = [self.tok_encode(request.args[0], None if self._rolling_bos else False) for request in requests]
        windows = [rolling_windows(tokens, self.prefix_token_id, self.max_length) for tokens in texts]
        values = iter(value for value, _ in self._loglikelihood_tokens([pair for some in windows for pair in some]))
        return [sum(itertools.islice(values, len(some))) for some in windows]


def decode(
    guider: "Guider",
    prompts: Sequence[Asked],
    sampling: "Sampling",
    batch_tokens: int | None = None,
    trace: bool = False,
    on_long_prompt: str = "error",
) -> "list[Generation]":
    """The generations of some prompts, in the prompts' order."""
    from guiders import generate

    asked = [one.prompt for one in prompts]
    found = generate(guider, asked, sampling, batch_tokens, trace, on_long_prompt=on_long_prompt)
    return sorted(found, key=lambda generation: generation.index)


def register() -> None:
    """Make ``--model ivg`` known to lm-eval in this process."""
    from lm_eval.api.registry import model_registry

    if "ivg" not in model_registry:
        model_registry.register("ivg", target="harness.adapters.lm_eval:GuidedLM")
