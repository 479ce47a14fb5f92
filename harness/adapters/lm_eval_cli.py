"""``python -m harness lm_eval ...``: lm-eval's own command line, with our model and our tasks known to it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Hand the arguments to lm-eval as they are, with ``tasks/`` on its path where no other is given."""
    from lm_eval.__main__ import cli_evaluate

    import tasks
    from harness.adapters.lm_eval import register

    register()
    ours = str(Path(tasks.__file__).parent)
    reads_tasks = not arguments or arguments[0].startswith("-") or arguments[0] in ("run", "ls", "validate")
    named = []
    if arguments and reads_tasks and not {"--include_path", "-h", "--help"} & set(arguments):
        named = named_tasks(arguments)
        arguments = [*arguments, "--include_path", ours]
    before = sys.argv
    sys.argv = ["lm_eval", *arguments]
    try:
        with _only(ours, named):
            cli_evaluate()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = before
    return 0


def named_tasks(arguments: list[str]) -> list[str]:
    """The tasks that a command line names; none where another file or a directory could name them."""
    if {"-C", "--config"} & {argument.partition("=")[0] for argument in arguments}:
        return []
    found, reading = [], False
    for argument in arguments:
        option, sign, value = argument.partition("=")
        if argument.startswith("-"):
            reading = option in ("-t", "--tasks")
            if reading and sign:
                found += value.split(",")
        elif reading:
            found += argument.split(",")
    return [name for name in found if name]


@contextmanager
def _only(folder: str, named: list[str]) -> Iterator[None]:
    """Where a folder has all the named tasks, spare lm-eval the scan of its own 14,685: ten seconds on one core."""
    import lm_eval.tasks as module

    full = module.TaskManager
    if not named or not set(named) <= set(full(include_path=folder, include_defaults=False).all_tasks):
        yield
        return
    module.TaskManager = lambda **options: full(**{**options, "include_defaults": False})
    try:
        yield
    finally:
        module.TaskManager = full
