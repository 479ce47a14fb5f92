"""What the operating system refuses is one line with its own cause and remedy: the real error where it can be had."""

import errno
import gzip
import os
import resource
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from harness import os_errors
from harness.cli import main
from tasks.alpaca_eval.data import read_rows
from tasks.errors import TaskError

ROOT = Path(__file__).resolve().parents[2]
LONG = "a" * 300


def line_of(arguments: list[str], capsys) -> str:
    """The one line of a refusal, the same with ``--debug`` as its last one; the exit code is 2 with both."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    (line,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert main([*arguments, "--debug"]) == 2
    debugged = capsys.readouterr().err
    assert "Traceback" in debugged
    assert debugged.splitlines()[-1] == line
    return line


def started(*arguments: str, **options) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-m", "harness", *arguments], env=environment, **options)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sweep", f"name={LONG}"], "File name too long"),
        (["sweep", f"guider={LONG}.yaml"], "File name too long"),
        (["sweep", f"task={LONG}.yaml"], "File name too long"),
        (["sweep", "model=hf", f"model.base={LONG}"], "File name too long"),
        (["sweep", "task=loop.yaml"], "no such file"),
        (["sweep", "task=/proc/self/mem.yaml/x.yaml"], "no such file"),
        (
            ["sweep", "task=lm_eval", "task.path=/proc/self/mem"],
            "Input/output error; nothing recorded is lost: the disk",
        ),
        (["sweep", "run_dir=/sys/x"], "Operation not permitted"),
        (["sweep", "run_dir=file/x"], "Not a directory"),
        (["report", f"run={LONG}"], "File name too long"),
        (["judge", f"outputs={LONG}.json", "judge=reward", "run=judged"], "File name too long"),
        (
            ["judge", "outputs=/proc/self/mem", "reference=/proc/self/mem", "judge=reward", "run=judged"],
            "Input/output error",
        ),
    ],
)
def test_a_real_error_is_one_line_and_names_its_cause(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("loop.yaml").symlink_to("loop.yaml")
    Path("file").touch()
    line = line_of(arguments, capsys)
    assert said in line
    assert "make room" not in line


def test_a_record_that_outgrows_the_limit_of_a_file_keeps_what_is_there(tiny, tmp_path):
    """EFBIG, as ``ulimit -f`` gives it (Python ignores SIGXFSZ)."""
    small = ["sweep", *tiny, "guider=eft", "grid.weight=[1]", "task.n_dev=2", "task.n_test=2", "seeds=[0]"]
    process = started(
        *small, f"run_dir={tmp_path}/run", cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600)),
    )  # fmt: skip
    _, error = process.communicate()
    assert process.returncode == 2, error
    assert error.splitlines()[-1].startswith("error: ")
    assert "File too large" in error.splitlines()[-1]
    assert "ulimit -f" in error.splitlines()[-1]


def test_a_full_standard_output_is_said_once():
    with open("/dev/full", "w") as full:
        process = started("sweep", "--help", stdout=full, stderr=subprocess.PIPE, text=True)
        _, error = process.communicate()
    assert process.returncode == 2
    assert error.splitlines()[-1] == (
        "error: standard output: No space left on device; nothing recorded is lost: make room and run again"
    )


@pytest.mark.parametrize("arguments", [[], ["sweep", "--help"]])
def test_a_reader_that_has_gone_ends_the_command_quietly(arguments):
    reading, writing = os.pipe()
    process = started(*arguments, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    os.close(reading)
    _, error = process.communicate()
    assert (process.returncode, error) == (141, "")


def test_every_cause_has_a_remedy_of_its_own():
    """Those that can't be had here too: a stale network file, a file system without locks."""
    asked = [
        errno.EPERM,
        errno.EFBIG,
        errno.EIO,
        errno.ESTALE,
        errno.ENAMETOOLONG,
        errno.ENOLCK,
        errno.EACCES,
        errno.ENOSPC,
    ]
    lines = {os_errors.said(OSError(number, os.strerror(number), "x")) for number in asked}
    assert len(lines) == len(asked)
    assert sum("make room" in line for line in lines) == 1
    assert os_errors.said(BrokenPipeError(errno.EPIPE, "Broken pipe")) is None
    assert os_errors.said(OSError("a library's own text")) is None


def test_a_file_system_without_locks_is_not_called_another_sweep(tiny, tmp_path, monkeypatch, capsys):
    import fcntl

    def unlockable(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fcntl, "flock", unlockable)
    line = line_of(["sweep", *tiny], capsys)
    assert "No locks available" in line
    assert "another sweep" not in line


@pytest.mark.parametrize("file", ["guider.yaml", "task.yaml"])
def test_a_file_that_is_not_utf_8_is_one_line(file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path(file).write_bytes(b"task: \xff\xfe\n")
    assert file in line_of(["sweep", f"{file.removesuffix('.yaml')}={file}"], capsys)


def test_a_configuration_of_a_run_that_is_not_utf_8_is_written_anew(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["sweep", *tiny, "guider=eft", "grid.weight=[1]", "task.n_dev=2", "task.n_test=2", "seeds=[0]"]
    assert main(small) == 0
    config = Path("runs/tiny/config.yaml")
    whole = config.read_bytes()
    config.write_bytes(b"\xff" + whole)
    assert main(small) == 0
    assert config.read_bytes() == whole


def test_an_outputs_file_that_unpacks_to_gigabytes_is_read_no_further_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.alpaca_eval.data.MOST_BYTES", 1 << 20)
    bomb = tmp_path / "outputs.json.gz"
    with gzip.open(bomb, "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(b" " * (1 << 20))
    tracemalloc.start()
    with pytest.raises(TaskError, match="more than 1 MiB"):
        read_rows(bomb)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    bomb.write_bytes(bomb.read_bytes()[:-100])
    monkeypatch.setattr("tasks.alpaca_eval.data.MOST_BYTES", 1 << 28)
    with pytest.raises(TaskError, match="not a JSON file"):
        read_rows(bomb)


@pytest.mark.parametrize("role", ["base", "tuned", "value"])
def test_truncated_weights_are_one_line_that_names_the_file(role, tiny, tiny_models, tmp_path, monkeypatch, capsys):
    import shutil

    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_models[role], "model")
    (weights,) = Path("model").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-50])
    assert str(weights) in line_of(["sweep", *tiny, f"model.{role}=model"], capsys)
