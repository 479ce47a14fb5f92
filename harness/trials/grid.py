"""The settings of a sweep: every chosen guider at every point of the grid that its configuration names."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.config.compose import dotted
from harness.config.nearest import nearest
from harness.config.schema import Grid, ModelSpec, Sweep, validated
from harness.errors import UserError
from harness.methods.method import method
from harness.models.assemble import held_to_rows, is_model
from harness.trials.trial import BASE, Setting

AXIS = re.compile(r"\$\{grid\.(\w+)\}")
MODEL = re.compile(r"\$\{model\.(\w+)\}")


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
    constrained = False
    for key, value in overrides:
        if key.partition(".")[0] == "constraint":  # of every method, and not of the base that they are compared with
            _constrain({name: raw[name] for name in names if name != BASE}, key, value, first=not constrained)
            constrained = True
            continue
        known = [name for name in names if key in set(dotted(raw[name]))]
        if not known:
            keys = sorted({key for config in raw.values() for key in dotted(config)})
            raise UserError(f"guider.{key}: none of {', '.join(names)} has this key; {nearest(key, keys)}")
        for name in known:
            raw[name] = _changed(raw[name], key, value)
    return [setting for name in names for setting in _points(_short(name), raw[name], sweep, methods[name].about.axes)]


def _constrain(configs: dict[str, dict], key: str, value: Any, first: bool) -> None:
    """``guider.constraint={json_schema: FILE}``, or ``guider.constraint.json_schema=FILE``, put into guiders, in the
    place of the one that they are configured with. first: no key of it was given before."""
    for name, config in configs.items():
        if config["_target_"] != "guiders.Guider":
            raise UserError(f"guider.constraint: {name} is a {config['_target_']}, which takes none; leave it out")
        inner = key.partition(".")[2]
        before = {} if first else config.get("constraint") or {}
        config["constraint"] = {**before, inner: value} if inner else value


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
        found = [one for one in found if one.rows == rows or not held_to_rows(one.config)]
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


def _leaves(config: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
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
