"""The embedded models' cache: the same weights twice, nothing half-built, damage seen and mended."""

import hashlib
from dataclasses import replace

import pytest

from guiders.training.schedule import Schedule
from harness.errors import UserError
from harness.models import build_cache as cache
from harness.models import embedded

SHORT = Schedule(batch_size=8)
TINY = embedded.Recipe(
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
    stages = set()
    one = embedded.build(tmp_path / "one", lambda stage, *_: stages.add(stage), TINY)
    monkeypatch.chdir(tmp_path)  # beside folders that bear the packages' names
    for name in ("guiders", "tasks"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the working directory shadows the package')")
    two = embedded.build(tmp_path / "two", quiet, TINY)
    assert stages == set(embedded.NAMES) == set(one)
    assert hashes(one) == hashes(two)
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
