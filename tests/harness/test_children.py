"""No process outlives the one that started it, not even where that is killed."""

import os
import signal
import subprocess
import sys
import time

import pytest

PARENT = """
import subprocess, sys
from harness.gate.child import ends_with_parent
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], preexec_fn={begin})
print(child.pid, flush=True)
child.wait()
"""


def runs(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        with open(f"/proc/{process}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children")
@pytest.mark.parametrize(("begin", "survives"), [("ends_with_parent()", False), ("None", True)])
def test_a_child_ends_with_its_parent(begin, survives):
    """A child that is started plainly survives: so the check can fail."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT.format(begin=begin)], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    try:
        assert runs(child)
        parent.kill()
        parent.wait()
        until = time.monotonic() + (1 if survives else 20)
        while runs(child) and time.monotonic() < until:
            time.sleep(0.01)
        assert runs(child) == survives
    finally:
        if runs(child):
            os.kill(child, signal.SIGKILL)
