"""AlpacaEval's annotators: their prompts, their order of the two outputs and their parsers, without their client.

Everything that decides what the judge is asked and how its answer is read is alpaca_eval's own code, called on a copy
of its annotator configuration whose client is left out. Requests are sent, stored and counted elsewhere, and nothing is
written beside the installed package.
"""

import contextlib
import logging
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from harness.records.judgement import Pair

if TYPE_CHECKING:
    import pandas

CHUNK = 128  # alpaca_eval annotates this many rows at a time; prompts of several pairs are filled within a chunk
SEED = 0  # BaseAnnotator's default seed, with which every published annotation was made
# How the names of other clients' settings translate to the OpenAI protocol.
SETTING_NAMES = {"model_name": "model", "max_tokens_to_sample": "max_tokens", "max_new_tokens": "max_tokens"}
# Settings of alpaca_eval's clients themselves, which are no part of a request.
CLIENT_SETTINGS = {"price_per_token", "client_kwargs", "num_procs", "requires_chatml"}


class UnparsableAnswer(ValueError):
    """The judge answered, but not with a preference."""


@dataclass(frozen=True)
class Question:
    """One request to the judge.

    Attributes:
        places: for every pair in the prompt its place in the list of pairs, None for padding.
        switched: for every pair in the prompt, whether the model's response stands first.
        annotator: which annotator of the pool asks.
        body: the body of the request in the OpenAI protocol; with ``messages`` it goes to the chat endpoint, with
            ``prompt`` to the completions endpoint.
    """

    places: tuple[int | None, ...]
    switched: tuple[bool, ...]
    annotator: str
    body: dict


def annotator_file(name: str) -> Path:
    """The configuration of an annotator, found without importing alpaca_eval.

    Raises:
        UserError: AlpacaEval has none of that name, and there is no such folder.
    """
    spec = find_spec("alpaca_eval")
    assert spec is not None  # alpaca_eval is a dependency
    folder = Path(str(spec.origin)).parent / "evaluators_configs"  # alpaca_eval.constants.EVALUATORS_CONFIG_DIR
    file = folder / name / "configs.yaml"
    if not file.is_file():
        known = sorted(path.parent.name for path in folder.glob("*/configs.yaml"))
        raise UserError(f"judge.annotator={name!r} is none of AlpacaEval's; choose one of {', '.join(known)}")
    return file


class Annotator:
    """One of AlpacaEval's annotator configurations.

    Args:
        name: a folder of ``alpaca_eval/evaluators_configs``, or the path of a folder with the same layout.
        model: the judge's model; None for the one that the configuration names.

    Raises:
        UserError: no such configuration, or one whose requests the OpenAI protocol cannot carry.
    """

    def __init__(self, name: str, model: str | None = None):
        with _quiet():
            from alpaca_eval import utils
            from alpaca_eval.annotators.pairwise_evaluator import SinglePairwiseAnnotator

            self._utils = utils
            file = annotator_file(name)
            self.name = Path(name).name
            self._single, self._settings = {}, {}
            for member, config in utils.load_configs(file).items():
                self._single[member] = SinglePairwiseAnnotator(
                    seed=SEED,
                    base_dir=file.parents[1],
                    completion_column=None,
                    **{**config, "fn_completions": _no_client},
                )
                self._settings[member] = _request_settings(self.name, config, model)
        self.models = sorted({settings["model"] for settings in self._settings.values()})

    def questions(self, pairs: Sequence[Pair]) -> list[Question]:
        """What the judge is to be asked. Pairs of equal responses are ties and are not asked."""
        import pandas as pd

        frame = pd.DataFrame(
            {
                "instruction": [pair.instruction for pair in pairs],
                "output_1": [pair.baseline for pair in pairs],
                "output_2": [pair.response for pair in pairs],
                "place": range(len(pairs)),
            }
        )
        asked: list[Question] = []
        with _quiet():
            for start in range(0, len(frame), CHUNK):
                chunk = frame.iloc[start : start + CHUNK]
                chunk = chunk[chunk.output_1 != chunk.output_2]
                member = chunk.instruction.map(self._member)
                for name in self._single:
                    rows = chunk[member == name]
                    if len(rows):
                        asked.extend(self._ask(name, rows))
        return asked

    def _member(self, instruction: str) -> str:
        return self._utils.random_seeded_choice(f"annotator{instruction}{SEED}", list(self._single))

    def _ask(self, name: str, rows: "pandas.DataFrame") -> Iterator[Question]:
        single = self._single[name]
        prepared = single._preprocess(rows.copy())
        prompts, prepared = single._make_prompts(prepared)
        places = [None if math.isnan(place) else int(place) for place in prepared["place"]]
        switched = list(prepared["is_switched_outputs"].eq(True)) if "is_switched_outputs" in prepared else None
        size = single.batch_size
        for number, prompt in enumerate(prompts):
            slots = slice(number * size, (number + 1) * size)
            order = tuple(switched[slots]) if switched else (False,) * size
            yield Question(tuple(places[slots]), order, name, self._body(name, prompt))

    def _body(self, name: str, prompt: str) -> dict:
        prompt, settings = prompt.strip(), self._settings[name]
        if prompt.startswith("<|im_start|>"):
            return {**settings, "messages": self._utils.prompt_to_chatml(prompt)}
        if prompt.startswith("Human:"):  # the form of Anthropic's first completion models: one turn
            content = prompt.removeprefix("Human:").removesuffix("Assistant:").strip()
            return {**settings, "messages": [{"role": "user", "content": content}]}
        return {**settings, "prompt": prompt}

    def parse(self, question: Question, choice: dict) -> list[float]:
        """The preferences (1 baseline better .. 2 model better) of the question's pairs, padding included.

        Args:
            choice: the first of the answer's ``choices``, as sent by the server.

        Raises:
            UnparsableAnswer: the answer holds no preference, with the reason.
        """
        single = self._single[question.annotator]
        if question.body.get("logprobs") and not choice.get("logprobs"):
            raise UnparsableAnswer(f"{_quote(_text(choice))}: the server sent no log-probabilities")
        completion = dict(choice, text=_text(choice)) if single.completion_key == "completions_all" else _text(choice)
        try:
            with _quiet():
                preferences = [float(value) for value in single.fn_completion_parser(completion)]
        except Exception as error:  # alpaca_eval's parsers raise whatever the answer makes them raise
            raise UnparsableAnswer(f"{_quote(_text(choice))} ({type(error).__name__} in the parser)") from error
        if len(preferences) != len(question.places):
            raise UnparsableAnswer(
                f"{_quote(_text(choice))}: {len(preferences)} preferences for {len(question.places)} pairs"
            )
        # 0 is an old way to write a tie; a switched pair's preference is mirrored back.
        preferences = [1.5 if value == 0 else value for value in preferences]
        if not all(1 <= value <= 2 for value in preferences):
            raise UnparsableAnswer(f"{_quote(_text(choice))}: no preference between 1 and 2")
        return [3 - value if back else value for value, back in zip(preferences, question.switched, strict=True)]


def _request_settings(name: str, config: dict, model: str | None) -> dict:
    """The settings of every request in the OpenAI protocol."""
    settings = {SETTING_NAMES.get(key, key): value for key, value in config.get("completions_kwargs", {}).items()}
    if biased := sorted({"tokens_to_favor", "tokens_to_avoid"} & settings.keys()):
        raise UserError(f"judge.annotator={name!r} sets {biased[0]}, made for retired models; choose another")
    if (client := config.get("fn_completions", "openai_completions")) == "openai_completions":
        # The defaults of alpaca_eval's own client.
        settings = {"max_tokens": 2048, "top_p": 1.0, "temperature": 0.7, **settings}
        settings = {key: value for key, value in settings.items() if key not in CLIENT_SETTINGS}
    elif model is None:
        raise UserError(f"judge.annotator={name!r} is made for {client}; name the server's model with judge.model")
    else:
        settings = {key: settings[key] for key in ("max_tokens", "temperature", "top_p") if key in settings}
    return {**settings, "model": model or settings["model"]}


def _text(choice: dict) -> str:
    """What alpaca_eval's client takes for the answer's text: a tool's arguments before the content.

    Raises:
        UnparsableAnswer: the choice has another shape than the protocol's.
    """
    try:
        text = _content(choice)
    except (AttributeError, KeyError, TypeError):
        text = None
    if not isinstance(text, str):
        raise UnparsableAnswer(f"an answer of another shape than the protocol's: {ascii(choice)[:60]}")
    return text


def _content(choice: dict) -> Any:
    message = choice.get("message")
    if message is None:
        return choice.get("text") or ""
    for call in message.get("tool_calls") or []:
        return call["function"]["arguments"]
    if call := message.get("function_call"):
        return call["arguments"]
    return " " if message.get("content") == "" else message.get("content") or ""


def _quote(text: str) -> str:
    """The answer's beginning, with everything escaped that could act on a terminal."""
    text = ascii(text if len(text) <= 60 else text[:60] + "...")
    return f"can't read the answer {text}"


def _no_client(*_: object, **__: object) -> None:
    raise AssertionError("an annotator of this harness never sends requests itself")


class _NotAlpacaEval(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not re.search(r"[\\/]alpaca_eval[\\/]", record.pathname)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Undoes what alpaca_eval does to logging.

    Its import sets the root logger to INFO, so that the HTTP client prints every request; its parsers quote raw model
    output, which must not reach a terminal; and both warn about packages that are no concern of the user's.
    """
    root, quiet = logging.getLogger(), _NotAlpacaEval()
    level, handlers = root.level, root.handlers[:]
    root.addFilter(quiet)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(quiet)
        root.setLevel(level)
        root.handlers[:] = handlers
