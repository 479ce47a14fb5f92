"""The scores that lm-eval's tasks give a response: numbers, or an error that names task, document and metric."""

import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

from lm_eval.api.metrics import nanmean

from harness.errors import UserError


def number(value: Any, aggregation: Callable | None = None) -> float | None:
    """A metric's value of one document.

    Args:
        aggregation: what lm-eval makes of the values of all documents.

    Returns:
        None for what is no score of one document: nothing at all (``bypass``), the parts that a metric over the
        whole corpus gathers (BLEU's texts in a pair, the label and the guess of F1), and NaN where the task says by its
        aggregation ``nanmean`` that NaN is a document without a score.

    Raises:
        ValueError: a text, an infinity, any other NaN.
    """
    if getattr(value, "ndim", None) == 0:  # a scalar of numpy or torch
        value = value.item()
    if aggregation is nanmean and isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, numbers.Real) and math.isfinite(value):
        return float(value)
    if isinstance(value, numbers.Real | str):
        raise ValueError(f"{value!r:.40} is no score; return a finite number for every response")
    return None


def checking(manager: Any) -> Any:
    """The task manager, whose tasks say of which document and metric scoring fails, or gives what is no number.

    Raises:
        UserError: by the ``process_results`` of the tasks that it loads.
    """
    load = manager.load

    def checked(*args: Any, **kwargs: Any) -> Any:
        loaded = load(*args, **kwargs)
        for name, task in loaded["tasks"].items():
            if "process_results" in vars(task):  # a task that is loaded already is handed through
                continue
            task.process_results = _checked(name, task, task.process_results)
        return loaded

    manager.load = checked
    return manager


def _checked(name: str, task: Any, process_results: Callable[..., Mapping]) -> Callable[..., Mapping]:
    def document(doc: Any) -> int:
        return next(place for place, one in enumerate(task.eval_docs) if repr(one) == repr(doc))

    def process(doc: Any, results: Any) -> Mapping:
        try:
            scores = process_results(doc, results)
        except Exception as error:  # whatever a task's own code raises
            reason = (str(error).strip().splitlines() or ["without a reason"])[0]
            what = f"scoring document {document(doc)} (counted from 0) raised {type(error).__name__}: {reason}"
            raise UserError(f"task {name}: {what}; mend the task's metric") from error
        for metric, value in scores.items():
            try:
                number(value, task.aggregation().get(metric))
            except ValueError as error:
                where = f"metric {metric!r} of document {document(doc)} (counted from 0)"
                raise UserError(f"task {name}: {where}: {error}") from None
        return scores

    return process
