"""``python -m harness VERB ...``, and the console script ``ivg-harness``."""

import sys
import traceback

from harness import import_path

CRASHED = 70  # EX_SOFTWARE of sysexits.h; Python's own 1 is the gate's "regression"


def run() -> int:
    """The exit code of the command line."""
    import_path.settle()
    try:
        from harness.cli import main

        return main(sys.argv[1:])
    except Exception:
        traceback.print_exc()
        return CRASHED


if __name__ == "__main__":
    sys.exit(run())
