"""lm-eval's tasks: loading one, and scoring a model on some of its documents."""

import hashlib
import inspect
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.adapters.lm_eval_prompts import PromptingLM
from harness.adapters.lm_eval_recorded import RecordedLM
from harness.adapters.lm_eval_scores import checking, number
from harness.backends.protocol import Asked
from harness.config.schema import Task
from harness.config.task_file import TaskFile
from harness.errors import UserError

if TYPE_CHECKING:
    from guiders import LM


@dataclass(frozen=True)
class TaskPrompts:
    """What a task asks: one prompt per document, in order, and its ``generation_kwargs``."""

    prompts: list[Asked]
    gen_kwargs: dict


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What lm-eval logs as an error, in place of lines of its own on standard error."""
    said: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("lm_eval")
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)


class LoadedTask:
    """An lm-eval task, ready to be evaluated again and again.

    Args:
        file: the task; a built-in one costs lm-eval's scan of all its tasks (some seconds).
        data: handed to the task's own loader as ``data``, where it reads a local file.

    Raises:
        UserError: lm-eval knows no such task, cannot build it, or it asks for log-likelihoods.
    """

    def __init__(self, file: TaskFile, data: str | None = None):
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        from lm_eval.tasks import TaskManager

        self.file = file
        manager = TaskManager(include_defaults=file.path is None, metadata={"data": data} if data else None)
        self.manager = checking(manager)
        try:
            with _heard() as said:
                loaded = self.manager.load([_spec(file)])["tasks"]
        except KeyError as error:
            if file.path is not None:
                raise UserError(
                    f"task={file.path}: lm-eval cannot build it: {' '.join([*said, str(error)][:1])}; correct it there"
                ) from None
            raise UserError(
                f"task.name={file.name}: lm-eval knows no such task; see `python -m harness lm_eval ls tasks`"
            ) from None
        except Exception as error:  # whatever a task's own code raises
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise UserError(
                f"task {file.name}: lm-eval cannot build it: {type(error).__name__}: {reason[0]}"
            ) from error
        if len(loaded) != 1:
            raise UserError(
                f"task.name={file.name}: a group of {len(loaded)} tasks; a sweep runs one task, name one of them"
            )
        (self.task,) = loaded.values()
        if self.task.OUTPUT_TYPE != "generate_until":
            raise UserError(
                f"task {file.name}: asks for {self.task.OUTPUT_TYPE}, and a sweep compares responses; "
                "evaluate it with `python -m harness lm_eval --model ivg`"
            )
        if self.task.config.repeats != 1:
            raise UserError(
                f"task {file.name}: repeats={self.task.config.repeats}; set repeats: 1 and ask for seeds=[0,1,...]"
            )

    def __len__(self) -> int:
        return len(self.task.eval_docs)

    @cached_property
    def prompts(self) -> dict[tuple[str, str], int]:
        """Question and start of the answer -> the first document that asks it.

        Raises:
            UserError: a document whose prompt cannot be made.
        """
        found: dict[tuple[str, str], int] = {}
        for place, doc in enumerate(self.task.eval_docs):
            try:
                prompt = str(self.task.doc_to_text(doc)), str(self.task.doc_to_prefix(doc))
            except Exception as error:  # whatever a task's own template or code raises
                reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no reason given'])[0]}"
                raise UserError(
                    f"task {self.file.name}: document {place} (counted from 0) gives no prompt: {reason}"
                ) from error
            found.setdefault(prompt, place)
        return found

    @property
    def distinct(self) -> list[int]:
        """The first document of every prompt, ascending: one and the same prompt has one response and one score."""
        return list(self.prompts.values())

    @property
    def repeated(self) -> int:
        """How many documents repeat the prompt of an earlier one."""
        return len(self) - len(self.prompts)

    def field(self, name: str) -> str:
        """What the documents hold in a field that constrains responses, by content, as `asks`.

        Raises:
            UserError: a document that lacks it.
        """
        held = [_held(self.file.name, place, doc, name) for place, doc in enumerate(self.task.eval_docs)]
        text = json.dumps(held, sort_keys=True, default=str)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def asks(self, num_fewshot: int | None) -> str:
        """What the task asks, by content: "sha256:" and 16 hex digits of every document's request, as lm-eval makes it
        without a chat template (which is the base model's), and its generation settings. How it scores is not in it.

        Raises:
            UserError: a document whose request cannot be made.
        """
        assert self.prompts is not None  # documents without a prompt are named there
        _as_simple_evaluate_does(self.task, num_fewshot)
        self.task.build_all_requests()
        asked = [(request.doc_id, request.args) for request in self.task.instances]
        text = json.dumps(asked, sort_keys=True, default=str)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    def higher_is_better(self) -> dict[str, bool]:
        """Metric -> what the task's ``metric_list`` says, or lm-eval of a metric of its own."""
        return {name: said for name, said in self.task.higher_is_better().items() if isinstance(said, bool)}

    def scores(self, metric: str) -> list[str] | None:
        """The names of the task's scores where this is none of them; None where it is one, or can be.

        What ``metric_list`` does not name, ``process_results`` may give all the same: it is asked with an empty
        response.
        """
        known = list(self.task.aggregation())
        if metric in known or not len(self):
            return None
        try:
            known += self.task.process_results(self.task.eval_docs[0], [""])
        except Exception:  # whatever it makes of an empty response: the first real one will tell
            return None
        return None if metric in known else list(dict.fromkeys(known))

    def prompts_of(self, base: "LM", task: Task, indices: list[int], field: str | None = None) -> TaskPrompts:
        """The prompts that lm-eval makes of some documents, as `evaluate` will: no model answers anything yet.

        Args:
            base: the model whose chat template the prompts go through; its weights are not read.
            indices: which documents, ascending.
            field: of each document, that its response's constraint is read from; None: none.

        Raises:
            UserError: a chat template that is asked for and not there; a document without the field.
        """
        model = RecordedLM(base, {})
        _as_simple_evaluate_does(self.task, task.num_fewshot)
        self.task.build_all_requests(
            samples=indices,
            system_instruction=task.system_instruction,
            apply_chat_template=task.apply_chat_template,
            chat_template=model.apply_chat_template if task.apply_chat_template else None,
        )
        requests = self.task.instances
        settings = {json.dumps(request.args[1], sort_keys=True): request.args[1] for request in requests}
        if len(settings) != 1:
            raise UserError(f"task {self.file.name}: asks with {len(settings)} generation settings; a sweep has one")
        (gen_kwargs,) = settings.values()
        return TaskPrompts([model.asked(request.args[0], request.doc, field) for request in requests], gen_kwargs)

    def evaluate(self, model: PromptingLM, task: Task, indices: list[int]) -> list[tuple[str, dict[str, float]]]:
        """Score a model's responses: (prompt's text, scores by lm-eval's metric) of every document, in order.

        Args:
            indices: which documents, ascending.

        Raises:
            UserError: a metric that raises, or gives a text, NaN or an infinity, with the document.
        """
        from lm_eval import simple_evaluate

        with without_environment():
            results = simple_evaluate(
                model=model,
                tasks=[self.task],
                task_manager=self.manager,
                num_fewshot=task.num_fewshot,
                apply_chat_template=task.apply_chat_template,
                system_instruction=task.system_instruction,
                samples={self.task.config.task: indices},
                bootstrap_iters=0,
                log_samples=True,
            )
        scored: dict[int, tuple[str, dict[str, float]]] = {}
        # one sample per document and filter; a later filter only adds the scores that are not there yet
        for sample in results["samples"][self.task.config.task]:
            prompt = model.asked(sample["arguments"][0][0]).text
            _, scores = scored.setdefault(sample["doc_id"], (prompt, {}))
            for metric in sample["metrics"]:
                value = number(sample[metric], self.task.aggregation().get(metric))
                if value is not None:
                    scores.setdefault(metric, value)
        return [scored[index] for index in indices]


def _held(task: str, place: int, doc: dict, field: str) -> Any:
    if doc.get(field) is None:
        mend = f"its documents have {', '.join(doc) or 'nothing'}"
        raise UserError(f"guider.constraint.field={field}: document {place} of task {task} has no such field; {mend}")
    return doc[field]


def _as_simple_evaluate_does(task: Any, num_fewshot: int | None) -> None:
    """Set a task's shots and the seeds as ``simple_evaluate`` does before it builds requests."""
    import random

    import numpy
    import torch
    from lm_eval import simple_evaluate

    defaults = {name: one.default for name, one in inspect.signature(simple_evaluate).parameters.items()}
    random.seed(defaults["random_seed"])
    numpy.random.seed(defaults["numpy_random_seed"])
    torch.manual_seed(defaults["torch_random_seed"])
    given = task.get_config("num_fewshot")
    if given is None or (num_fewshot is not None and given != 0):
        task.set_config(key="num_fewshot", value=num_fewshot or 0)
    task.set_fewshot_seed(seed=defaults["fewshot_random_seed"])


@contextmanager
def without_environment() -> Iterator[None]:
    """Spare lm-eval its questions to git and the system: half a second a call, and the manifest has the answers."""
    from lm_eval import evaluator

    answers = {"get_git_commit_hash": lambda: None, "add_env_info": lambda storage: None}
    kept = {name: getattr(evaluator, name) for name in answers if hasattr(evaluator, name)}
    for name in kept:
        setattr(evaluator, name, answers[name])
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(evaluator, name, function)


def _spec(file: TaskFile) -> Any:
    """What lm-eval loads: a name, or a local task's configuration with its data files made absolute."""
    if file.path is None:
        return file.name
    from lm_eval.tasks._yaml_loader import load_yaml

    config = load_yaml(file.path)
    kwargs = config.get("dataset_kwargs") or {}
    if "data_files" in kwargs:
        files = _absolute(kwargs["data_files"], file.path.parent)
        # `datasets` knows a file by its path and time, and would serve the old rows of one that changed within them;
        # a builder's description decides nothing but the place in its cache
        keyed = {} if "custom_dataset" in config else {"description": file.revision}
        config["dataset_kwargs"] = {**keyed, **kwargs, "data_files": files}
    return config


def _absolute(files: Any, folder: Path) -> Any:
    if isinstance(files, dict):
        return {split: _absolute(value, folder) for split, value in files.items()}
    if isinstance(files, list):
        return [_absolute(value, folder) for value in files]
    return files if "://" in files or Path(files).is_absolute() else str(folder / files)
