"""The command line: find the verb, run it, and say what went wrong in one line."""

import os
import sys
import traceback

from harness import os_errors
from harness.config.nearest import nearest
from harness.verbs import VERBS
from reports.foreign import printable

INTERRUPTED = 130


def main(argv: list[str]) -> int:
    """Run a verb; the exit code: 0, the error's ``exit_code`` (2 for bad input), or 130 after Ctrl-C.

    Args:
        argv: the command line after the program's name: the verb, then its options; ``--debug`` anywhere before a
            verb's own arguments shows tracebacks.
    """
    debug = "--debug" in argv
    argv = [argument for argument in argv if argument != "--debug"]
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    os.environ.setdefault("TQDM_DISABLE", "1")  # other packages' bars, read as they are imported; ours is another
    try:
        if argv[0] not in VERBS:
            return _fail(f"{argv[0]}: no such verb; {nearest(argv[0], VERBS)}", 2)
        verb = VERBS[argv[0]]
        if {"-h", "--help"} & set(argv[1:]) and verb.show_help(argv[0]):
            return 0
        return verb.load()(argv[1:]) or 0
    except KeyboardInterrupt:
        print("stopped; run the same command to go on", file=sys.stderr)
        return INTERRUPTED
    except ValueError as error:
        if not hasattr(error, "exit_code"):
            raise
        if debug:
            traceback.print_exc()
        return _fail(str(error), error.exit_code)
    except OSError as error:
        line = os_errors.said(error)
        if line is None:
            raise
        if debug:
            traceback.print_exc()
        return _fail(line, 2)


def overview() -> str:
    """The verbs, one line each."""
    width = max(map(len, VERBS))
    lines = ["usage: python -m harness VERB [option=value ...] [--help] [--debug]", ""]
    lines += [f"  {name:<{width}}  {verb.help}" for name, verb in VERBS.items()]
    return "\n".join(lines)


def _fail(message: str, code: int) -> int:
    print("error: " + printable(" ".join(message.split())), file=sys.stderr)
    return code
