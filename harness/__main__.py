"""``python -m harness VERB ...``"""

import sys
import traceback

from harness.cli import main

CRASHED = 70  # EX_SOFTWARE of sysexits.h; Python's own 1 is the gate's "regression"

if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except Exception:
        traceback.print_exc()
        code = CRASHED
    sys.exit(code)
