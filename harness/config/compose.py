"""From the command line to a configuration: Hydra's composition, with errors that name the nearest right key."""

import functools
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, cast

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Transformer
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.config.nearest import nearest
from harness.config.question import asks_its_own
from harness.errors import UserError

GUIDER = "guider"
ENVIRONMENT = "oc.env"
CONDITION = re.compile(r"\w[\w.]*\s*[<>]=?\s*[^\s,\[\]{}]+")


class Composed:
    """A composed configuration.

    Attributes:
        config: everything but the guiders, interpolations resolved; ``config["guider"]`` are the chosen names.
        guider_overrides: (dotted key inside a guider, value) from ``guider.KEY=VALUE``, in the order they were given.
    """

    def __init__(self, config: dict, guider_overrides: list[tuple[str, Any]]):
        self.config = config
        self.guider_overrides = guider_overrides


def compose(verb: str, arguments: list[str]) -> Composed:
    """Compose ``conf/VERB.yaml`` with overrides in Hydra's grammar.

    ``guider=[a,b]`` chooses guiders; ``guider.KEY=VALUE`` changes every chosen guider that has the key. A model given
    as a text is its path: ``model.base=PATH``. A task given as a YAML file is that lm-eval task. ``a,b`` and
    ``range(0,3)``, Hydra's sweeps, are lists: ``seeds=0,1`` is ``seeds=[0,1]``. A preset's sampling is for its own
    task, and its name for its own task and base (`harness.config.question`).

    Raises:
        UserError: an override that does not parse, or an unknown key, group or choice, with the nearest right one.
    """
    chosen, inside, groups, values, absent = None, [], [], [], []
    for override in _parse(arguments):
        key = override.get_key_element().lstrip("+~")
        if key == GUIDER:
            chosen = _value(override)
        elif key.startswith(GUIDER + "."):
            inside.append((key.removeprefix(GUIDER + "."), _value(override)))
        elif key == "task" and str(override.value()).endswith((".yaml", ".yml")):
            groups.append("task=lm_eval")
            values.append(_parse([f"task.path={override.get_value_element_as_str()}"])[0])
        elif key == "preset" and override.value() is None:  # what lm-eval makes of preset=none
            groups.append("preset=none")
        elif key in _groups() and override.value() is None:  # judge=null, ~judge
            absent.append(key)
        elif key in _groups():
            groups.append(_group_choice(key, override))
        else:
            values.append(override)
    bare = _plain(_of_groups(verb, tuple(groups)), resolve=False) if values else {}
    axes = own_axes(bare[GUIDER] if chosen is None else _names(chosen)) if GUIDER in bare else []
    lines = [_value_line(override, bare, axes) for override in values]
    config = _hydra(verb, groups + lines)
    if verb == "sweep" and (groups or lines):
        preset = _of_groups(verb, tuple(group for group in groups if group.startswith("preset=")))
        asks_its_own(config, preset, {override.get_key_element().lstrip("+~") for override in values})
    try:
        plain = _plain(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(_first_line(error)) from None
    if chosen is not None:
        plain[GUIDER] = chosen
    plain |= dict.fromkeys(absent)
    return Composed(plain, inside)


def guider_file(name: str) -> dict:
    """What a guider's file holds, with what it says ``about`` itself; interpolations unresolved.

    Args:
        name: a file of ``conf/guider``, or a path to a YAML file of that kind.

    Raises:
        UserError: no such guider, or a file that does not parse.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise UserError(f"guider={name}: no such file; give a YAML file or one of {', '.join(choices(GUIDER))}")
    else:
        if name not in choices(GUIDER):
            raise UserError(f"guider={name}: no such guider; {nearest(name, choices(GUIDER))}")
        path = _folder(GUIDER) / f"{name}.yaml"
    try:
        config = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        text = path.read_text(encoding="utf-8")
    except Exception as error:  # YAML and OmegaConf errors share no base class
        raise UserError(f"{name}: does not parse: {_first_line(error)}") from None
    _refuse_environment(text, name)
    if not isinstance(config, dict) or "_target_" not in config:
        raise UserError(f"{name}: a guider's configuration needs _target_, as in conf/guider/ivg.yaml")
    return config


def own_axes(names: list[str]) -> list[str]:
    """The axes that these guiders have of their own (``about.axes``), beside those of ``conf/grid``.

    Raises:
        UserError: as of `guider_file`.
    """
    found = [guider_file(name).get("about") or {} for name in names]
    return list(dict.fromkeys(axis for about in found for axis in about.get("axes") or {}))


def choices(group: str) -> list[str]:
    """The configurations of a group, by name."""
    return sorted(item.name.removesuffix(".yaml") for item in _folder(group).iterdir() if item.name.endswith(".yaml"))


def dotted(config: Any, prefix: str = "") -> Iterator[str]:
    """Every key of a nested configuration, dotted."""
    if isinstance(config, dict):
        for name, value in config.items():
            yield prefix + name
            yield from dotted(value, f"{prefix}{name}.")


def written(key: str, value: Any) -> str:
    """An override ``KEY=VALUE`` in Hydra's grammar, of a value as Python has it; texts are quoted."""
    return f"{key}={_written(value)}"


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_written(item) for item in value) + "]"
    if isinstance(value, int | float):
        return str(value)
    escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _folder(group: str) -> Any:
    return resources.files("conf") / group


def _groups() -> list[str]:
    return [item.name for item in resources.files("conf").iterdir() if item.is_dir() and not item.name.startswith("_")]


def _parse(arguments: list[str]) -> list[Override]:
    parsed = []
    for argument in arguments:
        if argument.startswith("-"):
            raise UserError(f"{argument}: no such option; options are written key=value, see --help")
        if "=" not in argument and not argument.startswith("~"):
            raise UserError(f"{argument}: not an override; write key=value, for example grid.weight=[1,2]")
        _refuse_environment(argument, argument.partition("=")[0])
        try:
            parsed.append(_listed(OverridesParser.create().parse_override(_quoted(argument))))
        except HydraException as error:
            mend = "quote a value that holds commas, brackets or equals signs"
            raise UserError(f"{argument}: does not parse ({_first_line(error)}); {mend}") from None
    return parsed


def _refuse_environment(text: str, place: str) -> None:
    """What a configuration takes from the environment would be written down with the run, a key too.

    Raises:
        UserError: the text asks for a variable (OmegaConf's ``oc.env``).
    """
    if ENVIRONMENT in text:
        raise UserError(f"{place}: {ENVIRONMENT} would be written into the run's folder; give the value itself")


def _quoted(argument: str) -> str:
    """Conditions as ``select.guard=[fluency>=0.8]`` in quotes, since Hydra's grammar has no < and > outside of them."""
    key, sign, value = argument.partition("=")
    if "'" in value or '"' in value:
        return argument
    return key + sign + CONDITION.sub(lambda match: f"'{match[0]}'", value)


def _listed(override: Override) -> Override:
    """The override, with the values of a sweep (``a,b``, ``choice(a,b)``, ``range(0,3)``) as a list."""
    if not override.is_sweep_override():
        return override
    values = ",".join(map(str, override.sweep_iterator(transformer=Transformer.str)))
    key = str(override.input_line).partition("=")[0]
    return OverridesParser.create().parse_override(f"{key}=[{values}]")


def _value(override: Override) -> Any:
    value = override.value()
    return _plain(OmegaConf.create({"value": value}), resolve=False)["value"]


def _group_choice(key: str, override: Override) -> str:
    if isinstance(override.value(), list):
        raise UserError(
            f"{key}={override.get_value_element_as_str()}: takes one; it is one of {', '.join(choices(key))}"
        )
    name = str(override.value())
    if name not in choices(key):
        raise UserError(f"{key}={name}: no such configuration; {nearest(name, choices(key))}")
    return f"{key}={name}"


def _plain(config: DictConfig, resolve: bool) -> dict:
    return cast(dict, OmegaConf.to_container(config, resolve=resolve))


def _names(chosen: Any) -> list[str]:
    return [str(name) for name in (chosen if isinstance(chosen, list) else [chosen])]


def _value_line(override: Override, bare: dict, axes: list[str]) -> str:
    """The override as a line, once its key is known to exist; a text for a model becomes the model's path.

    axes: further axes of the grid, which the chosen guiders have of their own.
    """
    line, key = str(override.input_line), override.get_key_element().lstrip("+~")
    if override.is_add() or override.is_delete():
        return line
    if key not in set(dotted(bare)):
        if key.removeprefix("grid.") in axes and key.startswith("grid."):
            return f"+{line}"
        known = [*dotted(bare), *_groups(), *(f"grid.{axis}" for axis in axes)]
        raise UserError(f"{key}: no such key; {nearest(key, known)}")
    node = OmegaConf.select(OmegaConf.create(bare), key)
    if isinstance(node, DictConfig):
        if "path" not in node or not isinstance(override.value(), str):
            inner = ", ".join(f"{key}.{name}" for name in list(node)[:4])
            raise UserError(f"{key}: holds several values; set one of {inner}")
        return f"{key}.path={override.get_value_element_as_str()}"
    return line


@functools.cache
def _of_groups(verb: str, groups: tuple[str, ...]) -> DictConfig:
    """Choices of groups alone, which are files of this package: composed once (0.1 s) and only read."""
    return _hydra(verb, list(groups))


def _hydra(verb: str, overrides: list[str]) -> DictConfig:
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("conf", version_base="1.3", job_name=verb):
            return hydra_compose(verb, overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_first_line(error)) from None
    finally:
        GlobalHydra.instance().clear()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].strip()
