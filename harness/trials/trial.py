"""Trials: what is run, named by a hash of exactly what decides the outputs."""

import hashlib
import itertools
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.config.compose import dotted
from harness.config.nearest import nearest
from harness.config.schema import Grid, ModelSpec, Sweep, validated
from harness.errors import UserError
from harness.methods import method
from harness.models.assemble import files, is_model, places, search_rows
from harness.models.pool import Resolver
from harness.models.revision import hash_file

AXIS = re.compile(r"\$\{grid\.(\w+)\}")
MODEL = re.compile(r"\$\{model\.(\w+)\}")
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
        revisions: of every model, and of files and code of the user's own, by its place in the guider, and of the task.
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
            content["revisions"] = {place: value for place, value in self.revisions.items() if place != "task"}
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
        self, task: str, asks: str, split: str, seed: int, sweep: Sweep, resolver: Resolver, task_files: str = ""
    ) -> Trial:
        """This setting on a split with a seed; the base draws from a stream of its own.

        Args:
            asks: what the task asks, by content. task_files: see `Trial`.
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
            revisions={**revisions, **resolver.code(self.config), "task": asks},
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
    asked = sweep.sampling.model_dump()
    # ids of trials without these stay what they were
    late = ("min_p", "typical_p", "coupling")
    return {name: value for name, value in asked.items() if name not in late or value is not None}


def settings_of(sweep: Sweep, overrides: list[tuple[str, Any]]) -> list[Setting]:
    """Every setting of every chosen guider, the base first.

    A guider runs at the product of exactly those grid axes that its configuration names; ``grid.rows`` keeps the
    points whose search spends so many rows on a prompt, so that methods are compared at one cost. A guider that never
    spends more than one row searches nothing, and is kept.

    Args:
        overrides: (dotted key inside a guider, value): each must be a key of at least one chosen guider.

    Raises:
        UserError: an unknown guider, key or axis; two guiders of one name; a grid without a point.
    """
    names = list(dict.fromkeys([BASE, *sweep.guider]))
    _check_distinct(names)
    models = {name: spec.model_dump() for name, spec in sweep.model.items()}
    methods = {name: method(name) for name in names}
    raw = {name: _with_models(methods[name].config, models, name) for name in names}
    for key, value in overrides:
        known = [name for name in names if key in set(dotted(raw[name]))]
        if not known:
            keys = sorted({key for config in raw.values() for key in dotted(config)})
            raise UserError(f"guider.{key}: none of {', '.join(names)} has this key; {nearest(key, keys)}")
        for name in known:
            raw[name] = _changed(raw[name], key, value)
    return [setting for name in names for setting in _points(_short(name), raw[name], sweep, methods[name].about.axes)]


def _short(name: str) -> str:
    """The method's name of a guider given as a file: the file's name."""
    return name.rpartition("/")[2].removesuffix(".yaml").removesuffix(".yml")


def _check_distinct(names: list[str]) -> None:
    """Refuse two guiders whose rows would bear one method's name, the unguided base's among them."""
    by_method: dict[str, str] = {}
    for name in names:
        other = by_method.setdefault(_short(name), name)
        if other != name:
            reserved = "the unguided base" if other == BASE else other
            raise UserError(f"guider={name}: {_short(name)!r} is already the name of {reserved}; rename the file")


def _with_models(node: Any, models: dict[str, dict], guider: str) -> Any:
    if isinstance(node, dict):
        return {name: _with_models(value, models, guider) for name, value in node.items()}
    if isinstance(node, list):
        return [_with_models(value, models, guider) for value in node]
    match = MODEL.fullmatch(node) if isinstance(node, str) else None
    if match is None:
        return node
    if match[1] not in models:
        raise UserError(
            f"guider {guider} uses model.{match[1]}, which the configuration lacks; {nearest(match[1], models)}"
        )
    return dict(models[match[1]])


def _changed(config: dict, key: str, value: Any) -> dict:
    head, _, rest = key.partition(".")
    old = config[head]
    if rest:
        return {**config, head: _changed(old, rest, value)}
    if is_model(old):
        if not isinstance(value, str):
            raise UserError(f"guider.{key}={value}: a model is given by its path, a text")
        return {**config, head: validated(ModelSpec, {**old, "path": value, "revision": None}).model_dump()}
    return {**config, head: value}


def _points(method: str, config: dict, sweep: Sweep, own: dict[str, list]) -> list[Setting]:
    """The settings of one guider. own: its own axes and their values, which the grid's go before."""
    axes = list(dict.fromkeys(AXIS.findall(json.dumps(config))))
    values = []
    for axis in axes:
        try:
            values.append(sweep.grid.axis(axis))
        except KeyError:
            if axis in own:
                values.append(own[axis])
                continue
            known = [*(name for name in sweep.grid.model_dump() if name != "rows"), *own]
            raise UserError(f"guider {method} uses grid.{axis}, which the grid lacks; {nearest(axis, known)}") from None
    found = []
    for point in itertools.product(*values):
        settings = dict(zip(axes, point, strict=True))
        found.append(Setting(method, settings, _filled(config, settings, method)))
    rows = sweep.grid.rows
    if rows is not None and any(one.rows != 1 for one in found):
        found = [one for one in found if one.rows == rows]
    if not found:
        raise UserError(
            f"grid.rows={sweep.grid.rows}: no point of {method}'s grid has as many rows; set grid.rows=null"
        )
    return found


def _filled(config: dict, settings: dict, method: str) -> dict:
    root = OmegaConf.create({"grid": settings, "guider": config})
    try:
        filled = cast(dict, OmegaConf.to_container(root, resolve=True))["guider"]
    except OmegaConfBaseException as error:
        raise UserError(f"guider {method}: {str(error).strip().splitlines()[0]}") from None
    for key, value in _leaves(filled):
        _check_range(method, key, value)
    return filled


def _leaves(config: dict, prefix: str = ""):
    for name, value in config.items():
        if isinstance(value, dict) and not is_model(value):
            yield from _leaves(value, f"{prefix}{name}.")
        elif not isinstance(value, dict):
            yield prefix + name, value


def _check_range(method: str, key: str, value: Any) -> None:
    """Hold a setting that was given past the grid to the range of the axis of that name."""
    axis = key.rpartition(".")[2]
    if axis not in Grid.model_fields or axis == "rows":
        return
    try:
        validated(Grid, {axis: value})
    except UserError as error:
        raise UserError(str(error).replace("grid.", "").replace(axis, f"guider.{key}", 1) + f" (of {method})") from None


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
