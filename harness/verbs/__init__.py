"""The verbs of the command line: one line each, imported only when called."""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Verb:
    """One verb.

    Attributes:
        target: ``module:function``; the function takes the arguments after the verb and returns the exit code.
        help: one line.
    """

    target: str
    help: str

    def load(self) -> Callable[[list[str]], int]:
        module, _, function = self.target.partition(":")
        return getattr(importlib.import_module(module), function)


VERBS: dict[str, Verb] = {
    "sweep": Verb("harness.verbs.sweep:main", "run a grid of guiders, choose on dev prompts, report on test prompts"),
    "report": Verb("harness.verbs.report:main", "compile the report of one or several runs from their records"),
    "gate": Verb(
        "harness.verbs.gate:main", "hold a run to a recorded baseline: pass, regression or inconclusive, for CI"
    ),
    "judge": Verb("harness.verbs.judge:main", "compare a file of outputs with a reference: the leaderboard's row"),
    "submit": Verb("harness.verbs.submit:main", "write the files of a leaderboard submission, checked and read back"),
    "train": Verb("harness.verbs.train:main", "train an untuned/tuned pair, a value or a reward model"),
    "doctor": Verb(
        "harness.verbs.doctor:main", "what a sweep needs and what of it is there, before anything is downloaded"
    ),
    "guiders": Verb("harness.verbs.guiders:main", "the methods: what each is, its axes, its models, how to cite it"),
    "bench": Verb("harness.bench:main", "measure the decoder's speed against its baselines and the machine"),
    "lm_eval": Verb("harness.adapters.lm_eval_cli:main", "lm-eval's command line, with `ivg` and tasks/ known"),
}
