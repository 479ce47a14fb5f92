"""The verbs of the command line: one line each, imported only when called."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Verb:
    """One verb.

    Attributes:
        target: ``module:function``; the function takes the arguments after the verb and returns the exit code.
        help: one line.
        schema: ``module:class`` that describes the options. primary: the configuration that holds their defaults, if it
            is not the verb's own. switches: options that are no overrides, with their meaning.
        files: below ``conf/``, for a verb whose options depend on a choice: ``GROUP/*.yaml`` for all of a group.
        text: ``module:NAME`` of a verb's own text. Without any of these the verb answers ``--help`` itself.
    """

    target: str
    help: str
    schema: str = ""
    primary: str | None = None
    switches: dict[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    text: str = ""

    def load(self) -> Callable[[list[str]], int]:
        return _found(self.target)

    def show_help(self, name: str) -> bool:
        """Print the answer to ``--help``; whether there is one here."""
        from harness.config.help import show_files, show_options

        if self.schema:
            show_options(name, _found(self.schema), self.switches, self.primary)
        elif self.files:
            show_files(name, *self.files)
        elif self.text:
            print(_found(self.text))
        return bool(self.schema or self.files or self.text)


def _found(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


VERBS: dict[str, Verb] = {
    "sweep": Verb(
        "harness.verbs.sweep:main",
        "run a grid of guiders, choose on dev prompts, report on test prompts",
        schema="harness.config.schema:Sweep",
        switches={"--dry-run": "print the trials, what is done and the time left; run nothing"},
    ),
    "report": Verb(
        "harness.verbs.report:main",
        "compile the report of one or several runs from their records",
        schema="harness.records.report:ReportSpec",
    ),
    "gate": Verb(
        "harness.verbs.gate:main",
        "hold a run to a recorded baseline: pass, regression or inconclusive, for CI",
        schema="harness.gate.config:Gate",
        switches={"--record": "write the baseline instead of comparing with it"},
    ),
    "judge": Verb(
        "harness.verbs.judge:main",
        "compare a file of outputs with a reference: the leaderboard's row",
        files=("judge.yaml", "judge/*.yaml"),
    ),
    "submit": Verb(
        "harness.verbs.submit:main",
        "write the files of a leaderboard submission, checked and read back",
        files=("submit.yaml",),
    ),
    "train": Verb(
        "harness.verbs.train:main",
        "train an untuned/tuned pair, a value or a reward model",
        files=("train.yaml", "train/*.yaml"),
    ),
    "doctor": Verb(
        "harness.verbs.doctor:main",
        "what a sweep needs and what of it is there, before anything is downloaded",
        schema="harness.config.schema:Sweep",
        primary="sweep",
    ),
    "guiders": Verb(
        "harness.verbs.guiders:main",
        "the methods: what each is, its axes, its models, how to cite it",
        text="harness.verbs.guiders:USAGE",
    ),
    "bench": Verb(
        "harness.bench:main",
        "measure the decoder's speed against its baselines and the machine",
        schema="harness.bench.settings:BenchFile",
    ),
    "lm_eval": Verb("harness.adapters.lm_eval_cli:main", "lm-eval's command line, with `ivg` and tasks/ known"),
}
