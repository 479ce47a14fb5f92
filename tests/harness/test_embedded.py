"""The embedded models' cache: the same weights twice, nothing half-built, damage seen and mended."""

import hashlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from guiders.training.schedule import Schedule
from harness.errors import UserError
from harness.models import build_cache as cache
from harness.models import embedded
from harness.models.workers import WorkerFailed, side_by_side

SHORT = Schedule(batch_size=8)
TINY = embedded.EmbeddedRecipe(
    vocab=400,
    base=(16, 1, 2),
    guide=(16, 1, 2),
    base_rows=16,
    guide_rows=16,
    pairs=16,
    rewards=16,
    sft=SHORT,
    dpo=SHORT,
    fudge=SHORT,
)


def quiet(*event):
    pass


def hashes(folders):
    return {name: hashlib.sha256((f / "model.safetensors").read_bytes()).hexdigest() for name, f in folders.items()}


def test_two_builds_have_equal_weights_and_the_second_call_builds_nothing(tmp_path, monkeypatch):
    """One of them by a script, which runs once, beside folders that bear the packages' names."""
    stages = set()
    one = embedded.build(tmp_path / "one", lambda stage, *_: stages.add(stage), TINY)
    for name in ("guiders", "tasks"):
        (tmp_path / "beside" / name).mkdir(parents=True)
        (tmp_path / "beside" / name / "__init__.py").write_text(
            "raise SystemExit('the working directory shadows the package')"
        )
    said, _ = script(tmp_path, 16, tmp_path / "beside").communicate()
    assert said.count("the script ran") == 1
    assert "tuned" in said
    (two,) = (tmp_path / "cache").glob("embedded-*/digest.json")
    assert stages == set(embedded.NAMES) == set(one)
    assert hashes(one) == hashes({name: two.parent / folder.name for name, folder in one.items()})
    assert len(set(hashes(one).values())) == 4
    stages.clear()
    assert embedded.build(tmp_path / "one", lambda stage, *_: stages.add(stage), TINY) == one
    assert not stages


def test_the_key_follows_the_recipe():
    assert embedded.key(TINY) == embedded.key(replace(TINY)) != embedded.key(replace(TINY, beta=0.2))


def writer(text, calls):
    def make(folder):
        calls.append(folder)
        (folder / "part").mkdir()
        (folder / "part" / "weights").write_text(text)

    return make


@pytest.mark.parametrize("damaging", ["cut", "remove", "digest"])
def test_a_damaged_entry_is_built_again_with_one_line(tmp_path, damaging):
    calls, said = [], []
    path = cache.entry(tmp_path, "thing", writer("whole", calls), said.append)
    file = path / ("digest.json" if damaging == "digest" else "part/weights")
    file.unlink() if damaging == "remove" else file.write_text("wh")
    assert cache.entry(tmp_path, "thing", writer("whole", calls), said.append) == path
    assert (path / "part" / "weights").read_text() == "whole"
    assert len(calls) == 2
    assert len(said) == 1
    assert file.name in said[0]
    assert "\n" not in said[0]


def test_an_interrupted_build_leaves_nothing_that_looks_finished(tmp_path):
    def interrupted(folder):
        (folder / "weights").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.entry(tmp_path, "thing", interrupted, print)
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == []
    (tmp_path / ".thing.killed").mkdir()  # what a process leaves that could not clean up
    calls = []
    cache.entry(tmp_path, "thing", writer("whole", calls), print)
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["thing"]


def test_a_cache_that_can_not_be_written_is_said_with_the_mend(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="HARNESS_CACHE"):
        cache.entry(tmp_path / "file" / "cache", "thing", writer("whole", []), print)


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.delenv("HARNESS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.root() == tmp_path / "ivg-harness"
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "mine"))
    assert cache.root() == tmp_path / "mine"
    assert cache.root(tmp_path / "given") == tmp_path / "given"


def test_the_key_is_of_what_runs_in_the_training_code(tmp_path, monkeypatch):
    """Comments, docstrings and annotations decide no weight; a constant does."""
    code = 'def f(x: int = 1) -> int:\n    """Words."""\n    size: int = 2\n    return x + size  # why\n'
    plain = "def f(x=1):\n    size: None = 2\n    return (x + size)\n"
    names = ["described", "plain", "other"]
    for name, text in zip(names, (code, plain, plain.replace("2", "3")), strict=True):
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    one, same, other = map(embedded._code, names)
    assert one == same != other


SCRIPT = f"""
from guiders.training.schedule import Schedule
from harness.models import embedded
print("the script ran", flush=True)
recipe = embedded.{TINY!r}
embedded.build(FOLDER, lambda *event: print(*event, flush=True), recipe)
"""


def script(tmp_path, rows: int, folder: Path | None = None) -> subprocess.Popen:
    """A user's script, without a guard for its main module, that builds the models; started in a folder."""
    many = replace(TINY, base_rows=rows, guide_rows=rows, sft=Schedule(epochs=rows // 16))
    recipe = repr(TINY if rows == TINY.base_rows else many)
    file = tmp_path / "script.py"
    file.write_text(SCRIPT.replace(repr(TINY), recipe).replace("FOLDER", repr(str(tmp_path / "cache"))))
    environment = os.environ | {"PYTHONPATH": str(Path(embedded.__file__).parents[2])}
    return subprocess.Popen([sys.executable, str(file)], stdout=subprocess.PIPE, text=True, env=environment, cwd=folder)


def descendants(process: int) -> set[int]:
    children = {int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()}
    return children.union(*map(descendants, children))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are looked up in /proc")
def test_a_killed_parent_leaves_no_process_that_trains(tmp_path):
    parent = script(tmp_path, 1024)
    for line in parent.stdout:
        if line.startswith(("base", "untuned")):
            break
    left = descendants(parent.pid)
    assert len(left) >= 2
    parent.kill()
    parent.wait()
    until = time.monotonic() + 20
    while any(Path(f"/proc/{each}").exists() for each in left) and time.monotonic() < until:
        time.sleep(0.1)
    assert [each for each in left if Path(f"/proc/{each}").exists()] == []


def fails(*_):
    raise MemoryError("no room\nfor this")


def waits(*_):
    time.sleep(600)


def ends(*_):
    print("a last word", flush=True)
    os._exit(9)


@pytest.mark.parametrize(("function", "told"), [(fails, "bad: MemoryError: no room$"), (ends, "a last word$")])
def test_a_failure_is_told_in_one_line_and_ends_the_other_process(tmp_path, function, told):
    began = time.monotonic()
    with pytest.raises(WorkerFailed, match=told):
        side_by_side({"bad": function, "other": waits}, (), tmp_path / "log", quiet)
    assert time.monotonic() - began < 60
