"""A child process that ends with its parent, however that ends."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # prctl(2)


def ends_with_parent() -> Callable[[], None] | None:
    """The ``preexec_fn`` of such a child; None where there is no such call: only Linux has it.

    A parent that is killed cannot end its children; the kernel does it then.
    """
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None, use_errno=True).prctl, os.getpid()

    def in_the_child() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the call
            os._exit(1)

    return in_the_child
