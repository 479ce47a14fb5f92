"""The guided model inside lm-eval: the registered model ``ivg``."""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from harness.errors import UserError

if TYPE_CHECKING:
    from guiders import Generation, Guider, Sampling

# lm-eval's own limit for a request that names none
DEFAULT_MAX_NEW_TOKENS = 256
# the decoder fills its batches by itself
NOT_OURS = {"batch_size", "max_batch_size"}
# what lm-eval's command line passes where no device is named
LM_EVALS_DEVICE = "cuda:0"
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

    Args:
        **arguments: overrides of the sweep's configuration, as in ``preset=embedded,guider=ivg,grid.weight=2``; the
            grid must come to one setting. ``batch_size`` and ``device`` are lm-eval's own.

    Raises:
        UserError: bad overrides, or a grid of several settings.
    """

    def __init__(self, **arguments: Any):
        from harness.guided import one_guider

        if arguments.get("device") == LM_EVALS_DEVICE:
            arguments["device"] = _device()
        overrides = [f"{name}={_override(value)}" for name, value in arguments.items() if name not in NOT_OURS]
        chosen = one_guider(overrides)
        self._start(lambda: chosen.pool.guider(chosen.config), chosen.sampling, chosen.seed, chosen.info)
        self._batch_tokens: int | None = chosen.batch_tokens

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
        """Token ids; a text that already starts with the beginning-of-text token gets no second one."""
        tokenizer = self.guider.base.tokenizer
        if add_special_tokens is None:
            bos = tokenizer.bos_token
            add_special_tokens = not (bos and string.startswith(bos))
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
            self._chats[text] = chat_history
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
        """The guider's settings and revisions, for lm-eval's results."""
        return dict(self._info)

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
        return Sampling(**chosen, stop=tuple(stop), seed=self._seed + repeat)

    def _generate(self, prompts: Sequence[Asked], sampling: "Sampling") -> list[str]:
        return [generation.text for generation in decode(self.guider, prompts, sampling, self._batch_tokens)]

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], **kwargs
    ) -> list[tuple[float, bool]]:
        from guiders import token_log_probs

        room = self.max_length + 1  # the last token is only predicted, never read
        pairs = []
        for _, context, continuation in requests:
            if len(continuation) >= room:
                raise UserError(
                    f"loglikelihood: a continuation of {len(continuation)} tokens does not fit the base's {room - 1}"
                )
            pairs.append((context[-(room - len(continuation)) :], continuation))
        return [(found.total, found.is_greedy) for found in token_log_probs(self.guider, pairs)]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of whole texts, each token predicted once from as much context as fits."""
        windows, counts = [], []
        for request in requests:
            found = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0], add_special_tokens=False),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            pairs = [(None, *make_disjoint_window(window)) for window in found]
            windows += pairs
            counts.append(len(pairs))
        values = iter(value for value, _ in self._loglikelihood_tokens(windows))
        return [sum(itertools.islice(values, count)) for count in counts]


def decode(
    guider: "Guider",
    prompts: Sequence[Asked],
    sampling: "Sampling",
    batch_tokens: int | None = None,
    trace: bool = False,
) -> "list[Generation]":
    """The generations of some prompts, in the prompts' order."""
    from guiders import generate

    found = generate(guider, [one.prompt for one in prompts], sampling, batch_tokens=batch_tokens, trace=trace)
    return sorted(found, key=lambda generation: generation.index)


def _device() -> str:
    """lm-eval's default device where there is one, else the processor, as lm-eval's own models do."""
    import torch

    return LM_EVALS_DEVICE if torch.cuda.is_available() else "cpu"


def register() -> None:
    """Make ``--model ivg`` known to lm-eval in this process."""
    from lm_eval.api.registry import model_registry

    if "ivg" not in model_registry:
        model_registry.register("ivg", target="harness.adapters.lm_eval:GuidedLM")


def _override(value: Any) -> str:
    """A value of lm-eval's ``model_args`` in Hydra's grammar."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_override(item) for item in value) + "]"
    if isinstance(value, int | float):
        return str(value)
    escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
