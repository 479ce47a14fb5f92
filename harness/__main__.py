"""``python -m harness VERB ...``, and the console script ``ivg-harness``."""

import os
import sys
import traceback
from typing import IO

from harness import import_path, os_errors

PIPE_CLOSED = 141  # as a shell shows a process that SIGPIPE ended
CRASHED = 70  # EX_SOFTWARE of sysexits.h; Python's own 1 is the gate's "regression"


def run() -> int:
    """The exit code of the command line."""
    import_path.settle()
    try:
        from harness.cli import main

        code = main(sys.argv[1:])
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of `... | head` has gone
        _leave(sys.stdout)
        return PIPE_CLOSED
    except OSError as error:
        line = os_errors.said(error)
        if line is None:
            traceback.print_exc()
            return CRASHED
        _leave(sys.stdout)
        print(f"error: {line}", file=sys.stderr)
        return 2
    except Exception:
        traceback.print_exc()
        return CRASHED


def _leave(stream: IO) -> None:
    """Let what can't be written any more go, so that the interpreter does not try again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    sys.exit(run())
