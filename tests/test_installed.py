"""The installed package works wherever it lies and wherever it is started: under a path with dots and a space, and
beside folders that bear its own names."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from test_packaging import copied

TINY = [
    "guider=[ivg,mine.yaml]", "grid.weight=1", "grid.width=2", "grid.successors=2", "grid.rows=4", "seeds=0",
    "task.n_dev=2", "task.n_test=2", "sampling.max_new_tokens=4",
]  # fmt: skip


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(request, tmp_path_factory) -> Path:
    """The ``bin`` of an environment that has this package itself and the dependencies of the running one."""
    folder = tmp_path_factory.mktemp("john.doe of python3.11")
    source = copied(folder / "the source")
    venv.create(folder / "an env")
    bin = folder / "an env" / "bin"
    (packages,) = (folder / "an env" / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(str(Path(pytest.__file__).parents[1]) + "\n")
    install = [sys.executable, "-m", "pip", "--python", bin / "python", "install", "--quiet", "--no-index"]
    install += ["--no-deps", "--no-build-isolation", *(["-e"] if request.param == "editable" else []), source]
    done = subprocess.run(install, capture_output=True, text=True, timeout=200, env=environment())
    assert done.returncode == 0, done.stderr
    return bin


def environment() -> dict[str, str]:
    """Nothing that tells where the package lies."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """A working directory with folders and a module of the package's names, as packages and without ``__init__``."""
    for name in ("tasks", "conf"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the working directory shadows the package')")
    for name in ("reports", "guiders"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", [["ivg-harness"], ["python", "-m", "harness"]])
def test_a_sweep_runs_beside_folders_of_the_packages_names(command, installed, elsewhere):
    """With a guider of the working directory's own, which is found there all the same."""
    (elsewhere / "my_part.py").write_text("from guiders import Guider\n\nclass Mine(Guider):\n    pass\n")
    guider = "_target_: my_part.Mine\nbase: ${model.base}\nsearch: {_target_: guiders.Sample}\n"
    (elsewhere / "mine.yaml").write_text(guider)
    words = [installed / command[0], *command[1:], "sweep", *TINY]
    done = subprocess.run(words, capture_output=True, text=True, timeout=280, env=environment())
    assert done.returncode == 0, done.stderr
    assert (elsewhere / "runs/embedded/report/index.html").is_file()
    for method in ("base", "ivg", "mine"):
        assert len(list((elsewhere / "runs/embedded/records").glob(f"{method}-*.jsonl"))) == 2
