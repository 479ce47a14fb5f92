"""A task's file, read without lm-eval: its name, what it is by content, and whether its rows can be asked."""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import yaml

import tasks
from harness.config.schema import Task
from harness.errors import UserError
from harness.records.json_lines import objects

FIELD = re.compile(r"\{\{\s*(\w+)[^}]*\}\}")


class _Loader(yaml.SafeLoader):
    """YAML with lm-eval's ``!function`` left as a text: reading a task must not run it."""


_Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


@dataclass(frozen=True)
class TaskFile:
    """An lm-eval task.

    Attributes:
        name: what lm-eval calls it.
        path: its YAML file; None for a task that comes with lm-eval.
        revision: the hash of the files that it is made of, or lm-eval's version.
    """

    name: str
    path: Path | None
    revision: str


def task_file(task: Task, split: str) -> TaskFile:
    """The lm-eval task of a split: ``task.dev`` for "dev" where it is given, else ``task.name``.

    Raises:
        UserError: no task named or known, a YAML file that does not parse, a data row that is not JSON or lacks the
            prompt.
    """
    name = task.dev if split == "dev" and task.dev else task.name
    if task.path is None and name is None:
        raise UserError("task.name: not set; give task.name=NAME of an lm-eval task, or task.path=FILE.yaml")
    path = _find(name, Path(task.path).expanduser() if task.path else Path(tasks.__file__).parent, bool(task.path))
    if path is None:
        if not is_named_by_lm_eval(str(name)):
            raise UserError(
                f"task.{'dev' if name == task.dev else 'name'}={name}: lm-eval knows no such task; "
                "see `python -m harness lm_eval ls tasks`"
            )
        return TaskFile(str(name), None, f"lm_eval=={metadata.version('lm_eval')}")
    config = read_yaml(path)
    name = config.get("task", name)
    if not isinstance(name, str):
        raise UserError(f"{path}: has no `task: NAME`; give the task a name")
    data = _data_files(config, path.parent)
    for file in data:
        _check_rows(file, config)
    if task.data is not None:
        if not Path(task.data).expanduser().is_file():
            raise UserError(f"task.data={task.data}: no such file; give the file that the task reads")
        data.append(Path(task.data).expanduser())
    code = [file for file in path.parent.iterdir() if file.suffix in (".py", ".yaml", ".yml")]
    return TaskFile(name, path, _hash([*code, *data]))


@lru_cache
def is_named_by_lm_eval(name: str) -> bool:
    """Whether any file of lm-eval's tasks holds a task's name. A second's work, where lm-eval's own index takes ten.

    Each of the index's names stands somewhere in these files; that one names a task, lm-eval says when it loads it.
    """
    spec = find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations or set("*?[") & set(name):
        return True
    files = Path(spec.submodule_search_locations[0], "tasks").rglob("*")
    return any(name.encode() in file.read_bytes() for file in files if file.suffix != ".pyc" and file.is_file())


def revisions(task: Task) -> list[str]:
    """The revision of each of ``task.names``: of one's own tasks and of ours by their files, else lm-eval's version."""
    return [_revision(task, name) for name in task.names]


def _revision(task: Task, name: str) -> str:
    if task.path is not None:
        try:
            return task_file(task.model_copy(update={"name": name, "dev": None}), "all").revision
        except UserError:  # it is not one of that folder
            pass
    return task_file(task.model_copy(update={"name": name, "dev": None, "path": None}), "all").revision


def with_dev(task: Task) -> Task:
    """The task, with ``NAME_dev.yaml`` beside its ``NAME.yaml`` as its dev task where it names none."""
    if task.dev is not None or (task.name is None and task.path is None):
        return task
    path = task_file(task, "test").path
    beside = path and path.with_name(f"{path.stem}_dev{path.suffix}")
    if not beside or not beside.is_file():
        return task
    return task.model_copy(update={"dev": read_yaml(beside).get("task", beside.stem)})


def read_yaml(path: Path) -> dict:
    """A task's YAML file.

    Raises:
        UserError: it does not parse, with file and line.
    """
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}:{line}: not YAML: {error.problem}; mend the line") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}:1: not a task; write `task: NAME` and what follows, as in tasks/reviews/reviews.yaml")
    return config


def _find(name: str | None, place: Path, given: bool) -> Path | None:
    if place.is_file():
        if name is None or read_yaml(place).get("task") == name:
            return place
        place = place.parent
    if not place.is_dir():
        raise UserError(f"task.path={place}: no such file; give an lm-eval YAML file or a folder of them")
    for file in sorted([*place.rglob("*.yaml"), *place.rglob("*.yml")]):
        if read_yaml(file).get("task") == name:
            return file
    if given:
        raise UserError(f"task.path={place}: holds no task named {name!r}; set task.name, or task.dev=null")
    return None


def _data_files(config: dict, folder: Path) -> list[Path]:
    """The local files of a task's ``dataset_kwargs.data_files``; relative ones lie beside the YAML."""
    named = (config.get("dataset_kwargs") or {}).get("data_files") or []
    named = list(named.values()) if isinstance(named, dict) else named
    flat = [
        item
        for entry in (named if isinstance(named, list) else [named])
        for item in ([entry] if isinstance(entry, str) else entry)
    ]
    files = []
    for item in flat:
        if "://" in item:
            continue
        file = Path(item) if Path(item).is_absolute() else folder / item
        if not file.is_file():
            raise UserError(
                f"{file}: no such data file; dataset_kwargs.data_files are looked for beside the task's YAML"
            )
        files.append(file)
    return files


def _check_rows(file: Path, config: dict) -> None:
    """Hold every line of a JSON-lines file to be an object with the fields of the prompt's template."""
    if file.suffix != ".jsonl" and config.get("dataset_path") != "json":
        return
    text = config.get("doc_to_text")
    fields = FIELD.findall(text) if isinstance(text, str) else []
    if isinstance(text, str) and "{" not in text and text.isidentifier():
        fields = [text]
    for place, row in objects(file):
        for name in fields:
            if row.get(name) in (None, ""):
                raise UserError(f"{place}: a row without a prompt: {name!r} is missing or empty; mend or remove it")


def _hash(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in sorted(set(files), key=lambda file: file.name):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return f"sha256:{digest.hexdigest()[:16]}"
