"""What a sweep asks: which task of which base. A run is named by it, and its folder holds one question."""

import re
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from harness.errors import UserError

Question = tuple[str, str]


def question(config: Any) -> Question:
    """The task or tasks and the base model, as they were named."""
    task, base = config["task"], (config.get("model") or {}).get("base") or {}
    names = task.get("names") or []
    tasks = names if isinstance(names, str) else "+".join(names)
    return tasks or task.get("name") or _local(task.get("path")), _local(base.get("path"))


def asks_its_own(config: DictConfig, preset: DictConfig, given: set[str]) -> None:
    """Keep a preset to its own question: another task is sampled as itself says, and another question is another run.

    Args:
        config: the composed configuration, interpolations unresolved; it is changed.
        preset: the same without the overrides.
        given: the keys that were overridden: what is given stays.
    """
    ours, theirs = question(config), question(preset)
    if ours[0] != theirs[0]:
        for key in config["sampling"]:
            if f"sampling.{key}" not in given:
                OmegaConf.update(config, f"sampling.{key}", [] if key == "stop" else None)
    if ours != theirs and not given & {"name", "run_dir"}:
        OmegaConf.update(config, "name", "-".join(map(_name, ours)))


def refuse_another(folder: Path, config: dict) -> None:
    """Hold a run's folder to one question.

    Raises:
        UserError: a sweep has asked another one there.
    """
    try:
        then = question(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return
    now = question(config)
    if [_name(part) for part in then] != [_name(part) for part in now]:
        asked = " of ".join(_name(part) for part in then)
        raise UserError(
            f"run_dir={folder}: holds another question ({asked}, not {' of '.join(map(_name, now))}); "
            "give another name=NAME"
        )


def _local(path: str | None) -> str:
    """A path as it is, wherever it is asked from; a hub name, or one of the embedded models, stays what it is."""
    return str(Path(path).expanduser().resolve()) if path and Path(path).expanduser().exists() else path or ""


def _name(part: str) -> str:
    """The last part of a path or a name, fit for a folder's name."""
    last = re.split(r"[/:]", part.rstrip("/"))[-1].removesuffix(".yaml").removesuffix(".yml")
    return re.sub(r"[^\w.+-]+", "_", last, flags=re.ASCII).strip(".") or "task"
