"""Trials: what is run, named by a hash of exactly what decides the outputs."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from harness.config.schema import Sweep
from harness.models.assemble import files, is_model, places, search_rows
from harness.models.pool import Resolver
from harness.models.revision import hash_file

BASE = "base"
BASELINE = "baseline"  # the purpose of the base's random numbers: a search must not be judged by its own first draw


@dataclass(frozen=True)
class Trial:
    """One run of one guider over one split of a task with one seed.

    Everything that decides the outputs is here, by content (a model by its revision, a task by what it asks, a user's
    own guider by the hash of its code), and nothing else: not how the task scores, no batch size, device or path. The
    harness's own code is in the run's manifest.

    Attributes:
        method: name of the guider's configuration.
        settings: the grid's axes that this guider uses, and their values.
        guider: the guider's configuration, models by revision.
        task: lm-eval name of the task.
        prompting: few-shot examples, chat template, system message; on_long_prompt, where prompts are cut; the
            template and stop strings of a prompt step, where there is one.
        split: "dev", "test" or "all".
        sampling: temperature, top_k, top_p, max_new_tokens, stop; null: the task's own. min_p, typical_p and coupling
            where they are set. The base's has a purpose too.
        seed: of the random streams.
        revisions: of every model, and of files and code of the user's own, by its place in the guider, and of the task
            ("task"; "task.FIELD": of its documents' field that constrains responses).
        rows: of the batch that a prompt takes, which follows from the guider; it is recorded and not in the id.
        task_files: the task's files by content, code that scores among them; recorded and not in the id.
    """

    method: str
    settings: dict
    guider: dict
    task: str
    prompting: dict
    split: str
    sampling: dict
    seed: int
    revisions: dict[str, str]
    rows: int = 1
    task_files: str = ""

    @property
    def id(self) -> str:
        return self._name(("guider", "task", "prompting", "split", "sampling", "seed", "revisions"))

    @property
    def setting(self) -> str:
        """The id of the trial without its seed and its split, and so without the split's own task."""
        return self._name(("guider", "prompting", "sampling", "revisions"), without_task_revision=True)

    def _name(self, fields: tuple[str, ...], without_task_revision: bool = False) -> str:
        content: dict[str, Any] = {name: getattr(self, name) for name in fields}
        if without_task_revision:
            of_task = ("task", *(place for place in self.revisions if place.startswith("task.")))
            content["revisions"] = {place: it for place, it in self.revisions.items() if place not in of_task}
        text = json.dumps(content, sort_keys=True, ensure_ascii=True)
        return f"{self.method}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def row(self, selected: bool) -> dict:
        """What ``trials/TRIAL.json`` holds."""
        return {
            "id": self.id,
            "setting": self.setting,
            "method": self.method,
            "settings": self.settings,
            "rows": self.rows,
            "split": self.split,
            "seed": self.seed,
            "task": self.task,
            "task_files": self.task_files,
            "prompting": self.prompting,
            "guider": self.guider,
            "sampling": self.sampling,
            "revisions": self.revisions,
            "selected": selected,
        }


@dataclass(frozen=True)
class Setting:
    """One point of one guider's grid, before task, split and seed.

    Attributes:
        method: the guider's name.
        settings: axis -> value.
        config: the guider's configuration with every value in place; models as specifications.
    """

    method: str
    settings: dict
    config: dict = field(repr=False)

    @cached_property
    def rows(self) -> int:
        """Rows of the batch that a prompt takes: the compute that settings are compared at."""
        return search_rows(self.config)

    def trial(
        self,
        task: str,
        asks: Mapping[str, str],
        split: str,
        seed: int,
        sweep: Sweep,
        resolver: Resolver,
        task_files: str = "",
    ) -> Trial:
        """This setting on a split with a seed; the base draws from a stream of its own.

        Args:
            asks: what the task asks, by content, as it is to stand in `Trial.revisions`. task_files: see `Trial`.
        """
        revisions = {place: resolver.revision(spec, place) for place, spec in places(self.config)}
        revisions |= {place: hash_file(path) for place, path in files(self.config)}
        return Trial(
            method=self.method,
            settings=self.settings,
            guider=_by_revision(self.config, revisions),
            task=task,
            prompting=_prompting(sweep),
            split=split,
            sampling=_sampling(sweep) | ({"purpose": BASELINE} if self.method == BASE else {}),
            seed=seed,
            revisions={**revisions, **resolver.code(self.config), **asks},
            rows=self.rows,
            task_files=task_files,
        )


def _prompting(sweep: Sweep) -> dict:
    task, step = sweep.task, sweep.prompt
    asked = {name: getattr(task, name) for name in ("num_fewshot", "apply_chat_template", "system_instruction")}
    # ids of trials that cut no prompt, and put none into a template, stay what they were
    if task.on_long_prompt != "error":
        asked["on_long_prompt"] = task.on_long_prompt
    if step.template is not None:
        asked["prompt"] = {"text": step.text("{prompt}"), "stop": step.stop}
    return asked


def _sampling(sweep: Sweep) -> dict:
    late = ("min_p", "typical_p", "coupling")  # ids of trials without these stay what they were
    return {name: x for name, x in sweep.sampling.model_dump().items() if name not in late or x is not None}


def _by_revision(node: Any, revisions: dict[str, str], place: str = "") -> Any:
    """The configuration with each model's path and hub revision, and each file's path, replaced by what it holds."""
    if is_model(node):
        kept = {key: item for key, item in node.items() if key not in ("path", "trust_remote_code", "device_map")}
        if kept.get("quantization_config") is None:
            kept.pop("quantization_config", None)  # ids of trials without one stay what they were
        return {**kept, "revision": revisions[place]}
    if isinstance(node, dict):
        return {name: _by_revision(value, revisions, f"{place}.{name}".lstrip(".")) for name, value in node.items()}
    if isinstance(node, list):
        return [_by_revision(item, revisions, f"{place}.{number}") for number, item in enumerate(node)]
    return revisions.get(place, node) if isinstance(node, str) else node
