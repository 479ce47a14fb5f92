"""What a failed command exits with, and what it says."""

import subprocess
import sys

import pytest
from test_bad_input import refused

from harness.cli import main


def test_debug_shows_the_traceback_and_keeps_the_exit_code(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["--debug", "sweep", *tiny, "grid.width=0"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_crash_is_not_the_gates_exit_code_1(tmp_path):
    """Exit code 1 of the gate means a regression; an error of the program itself must not."""
    broken = "import sys; sys.argv = ['harness', 'gate']; import harness.verbs.gate; del harness.verbs.gate.main; "
    broken += "import runpy; runpy.run_module('harness', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", broken], capture_output=True, text=True, timeout=120)
    assert "AttributeError" in done.stderr
    assert done.returncode == 70


def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys):
    from harness import verbs

    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(verbs.Verb, "load", lambda self: interrupted)
    assert main(["sweep"]) == 130
    assert capsys.readouterr().err.strip() == "stopped; run the same command to go on"


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_named_before_anything_is_loaded(device, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = refused(["sweep", *tiny, f"device={device}"], capsys)
    assert f"device={device}" in line
    assert "device=cpu" in line
