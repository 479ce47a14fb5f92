"""``python -m harness lm_eval ...``: lm-eval's own command line, with our model and our tasks known to it."""

import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Hand the arguments to lm-eval as they are, with ``tasks/`` on its path where no other is given."""
    from lm_eval.__main__ import cli_evaluate

    import tasks
    from harness.adapters.lm_eval import register

    register()
    reads_tasks = not arguments or arguments[0].startswith("-") or arguments[0] in ("run", "ls", "validate")
    if arguments and reads_tasks and not {"--include_path", "-h", "--help"} & set(arguments):
        arguments = [*arguments, "--include_path", str(Path(tasks.__file__).parent)]
    before = sys.argv
    sys.argv = ["lm_eval", *arguments]
    try:
        cli_evaluate()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = before
    return 0
