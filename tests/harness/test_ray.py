"""The Ray backend: the same records as a serial run, whatever dies; real Ray on pretended GPUs."""

import json
import os
import re
import signal
import socket
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'ivg-harness[ray]'")

from test_scorer import TASK, reward_model  # noqa: E402

from guiders import Sampling  # noqa: E402
from harness.backends.protocol import Batch, Block  # noqa: E402
from harness.backends.ray import DEATHS, Ray  # noqa: E402
from harness.backends.worker import WorkerSettings  # noqa: E402
from harness.cli import main  # noqa: E402
from harness.config.schema import BackendSpec  # noqa: E402
from harness.errors import UserError  # noqa: E402
from harness.progress import Display  # noqa: E402
from harness.records.run_folder import RunFolder  # noqa: E402
from harness.sweep.recorder import Recorder  # noqa: E402

GPU = ["backend=ray", "backend.gpus_per_worker=1"]
SMALL = ["guider=[eft,ivg]", "grid.weight=[2]", "task.n_dev=3", "task.n_test=3", "seeds=0"]
KILLS = int(os.environ.get("HARNESS_KILLS", "3"))
KILLER = """
import os, signal
from dataclasses import dataclass
from guiders.token import GuideState, TokenGuide


@dataclass(frozen=True)
class Killer(TokenGuide):
    victim: int = 0
    memory = True

    def off(self):
        return self

    def state(self, guider, slots):
        return State(self)


class State(GuideState):
    def __init__(self, guide):
        self.guide_of = guide

    def admit(self, slots, prompts):
        if any("Monday" in str(prompt) or self.guide_of.victim == 2 for prompt in prompts):
            os.kill(os.getpid(), signal.SIGKILL)

    def guide(self, view):
        return view.guided
"""


@pytest.fixture(scope="module")
def cluster():
    """One machine with two cores and two pretended GPUs; this process has one thread, as workers have."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    ray.init("local", num_cpus=2, num_gpus=2, object_store_memory=100 << 20, **quiet)
    yield
    ray.shutdown()
    torch.set_num_threads(threads)


def swept(folder: Path, *overrides: str) -> int:
    return main(["sweep", f"run_dir={folder}", *overrides])


def rows(folder: Path) -> dict[str, list[dict]]:
    """Every record, score and judgement of a run, sorted, without what a clock says; what is there twice is twice."""
    found = {}
    for file in sorted(file for kind in ("records", "scores", "judgements") for file in folder.glob(f"{kind}/*.jsonl")):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        texts = [json.dumps({k: v for k, v in line.items() if k not in ("seconds", "checksum")}) for line in lines]
        found[f"{file.parent.name}/{file.name}"] = sorted(texts)
    return found


def differences(found: dict[str, list], expected: dict[str, list]) -> dict[str, tuple]:
    """File -> rows that one side has more often, and rows that the other one has; pytest's own diff takes minutes."""
    counted = {name: (Counter(found.get(name)), Counter(expected.get(name))) for name in found | expected}
    return {name: (one - other, other - one) for name, (one, other) in counted.items() if one != other}


@pytest.fixture(scope="module")
def serial(cluster, tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serial")
    assert swept(folder, *tiny, *SMALL, "block=1") == 0
    return rows(folder)


def test_records_equal_those_of_a_serial_run(cluster, serial, tiny, tmp_path, monkeypatch):
    shown, advance = [], Display.advance
    monkeypatch.setattr(Display, "advance", lambda self, new, more="": shown.append(more) or advance(self, new, more))
    assert swept(tmp_path, *tiny, *SMALL, *GPU, "block=1") == 0
    assert not differences(rows(tmp_path), serial)
    assert re.fullmatch(r"2 workers: \d+, \d+ tokens/s", shown[-1])
    backend = json.loads((tmp_path / "manifest.json").read_text())["backend"]
    assert (backend["nodes"], backend["gpus_per_worker"]) == ([socket.gethostname()], 1)
    workers = backend["workers"]
    assert len(workers) == 2
    assert all(worker["tokens_per_second"] > 0 for worker in workers)
    assert sum(worker["blocks"] for worker in workers) >= len(serial) // 2


@pytest.mark.timeout(300 + 60 * KILLS)
def test_workers_killed_at_every_record_leave_the_same_records(cluster, serial, tiny, tmp_path, monkeypatch):
    """Each time a record reaches the disk, a worker that is at work dies, HARNESS_KILLS (3) times in all; a block kills
    two at most, since three would leave it out."""
    hands, kills, deaths = [], [], Counter()
    give, add = Ray._give, Recorder.add

    def given(self, hand, item):
        hands[:] = self._hands
        give(self, hand, item)

    def added(self, block, generations):
        new = add(self, block, generations)
        busy = [hand for hand in hands if hand.item is not None and hand.starting is None]
        alive = [hand for hand in busy if hand.about["pid"] not in kills and deaths[hand.item.label] < DEATHS - 1]
        if new and alive and len(kills) < KILLS:
            kills.append(alive[0].about["pid"])
            deaths[alive[0].item.label] += 1
            os.kill(kills[-1], signal.SIGKILL)
        return new

    monkeypatch.setattr(Ray, "_give", given)
    monkeypatch.setattr(Recorder, "add", added)
    assert swept(tmp_path, *tiny, *SMALL, *GPU, "block=1") == 0
    print(f"workers killed: {len(kills)}")
    assert len(set(kills)) > min(1, KILLS - 1)
    assert not differences(rows(tmp_path), serial)


def test_rewards_equal_those_of_a_serial_run_although_workers_die_while_they_score(
    cluster, tiny, tiny_models, tmp_path, monkeypatch
):
    """Gold scores and a reward judge, each with a model of its own; two workers die as they are given a batch."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harness.sweep.runner.GOLD_BATCH", 2)
    questions = ["The acting", "I watched", "A film", "Last night", "Two hours", "The end"]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"question": text}) + "\n" for text in questions))
    (tmp_path / "mine.yaml").write_text(TASK)
    gold, judge = (reward_model(tmp_path / name, tiny_models, seed) for seed, name in enumerate(("gold", "judge")))
    own = [f"task={tmp_path / 'mine.yaml'}", "guider=eft", "grid.weight=1", "seeds=0", f"task.gold.path={gold}"]
    own += ["judge=reward", f"judge.model={judge}", "judge.batch_size=2"]
    assert swept(tmp_path / "serial", *tiny, *own) == 0
    give, kills, given = Ray._give, [], []

    def killed(self, hand, item):
        give(self, hand, item)
        given.append(item)
        if isinstance(item, Batch) and hand.about["pid"] not in kills and len(kills) < 2:
            kills.append(hand.about["pid"])
            os.kill(hand.about["pid"], signal.SIGKILL)

    monkeypatch.setattr(Ray, "_give", killed)
    assert swept(tmp_path / "ray", *tiny, *own, *GPU) == 0
    assert len(kills) == 2
    assert {item.model.path for item in given if isinstance(item, Batch)} == {str(gold), str(judge)}
    expected = rows(tmp_path / "serial")
    assert not differences(rows(tmp_path / "ray"), expected)
    assert sum("gold_reward" in row for name, found in expected.items() if "scores" in name for row in found) == 12
    assert any(name.startswith("judgements/") for name in expected)


def test_a_block_that_kills_three_workers_is_named_and_the_others_go_on(cluster, tiny, tmp_path, monkeypatch, capsys):
    (tmp_path / "killer.py").write_text(KILLER)
    guider = {
        "_target_": "guiders.Guider",
        "base": "${model.base}",
        "token": {"_target_": "killer.Killer", "victim": "${grid.weight}"},
    }
    (tmp_path / "killing.yaml").write_text(yaml.safe_dump(guider))
    monkeypatch.syspath_prepend(str(tmp_path))
    run = tmp_path / "run"
    options = [f"guider={tmp_path / 'killing.yaml'}", "grid.weight=[2]", "grid.rows=null", "select.metric=null"]
    assert swept(run, *tiny, *GPU, *options, "seeds=0", "task.n_test=4", "block=4") == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: left out, since each killed its worker 3 times: killing-")
    assert "prompts 0 to 3" in error
    decoded = [file for file in (run / "records").glob("*.jsonl") if file.stat().st_size]
    assert any(file.name.startswith("base-") for file in decoded)


def test_what_the_guider_refuses_is_the_same_line_as_in_a_serial_run(cluster, tiny, tiny_models, tmp_path, capsys):
    wrong = [*SMALL, f"model.value={tiny_models['base']}", "guider=[ivg]"]
    assert swept(tmp_path / "serial", *tiny, *wrong) == 2
    first = capsys.readouterr().err.strip().splitlines()[-1]
    assert swept(tmp_path / "ray", *tiny, *wrong, *GPU) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1] == first


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (["backend.gpus_per_worker=3"], "no node has as many (1 nodes: 2 CPUs and 2 GPUs)"),
        (["backend.cpus_per_worker=64"], "no node has as many"),
        (["backend.gpus_per_worker=1", "backend.workers=3"], "there is room for 2"),
        (["backend.gpus_per_worker=0.25", "backend.workers=9"], "there is room for 2"),  # of cores
    ],
)
def test_more_than_there_is_is_refused_in_one_line_at_once(cluster, tiny, tmp_path, capsys, asked, says):
    assert swept(tmp_path, *tiny, "backend=ray", *asked) == 2
    assert says in capsys.readouterr().err.strip().splitlines()[-1]


def test_an_address_where_no_cluster_answers_is_one_line_at_once(cluster, tiny, tmp_path, monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    began = time.monotonic()
    assert swept(tmp_path, *tiny, "backend=ray", f"backend.address=127.0.0.1:{port}") == 2
    assert time.monotonic() - began < 60  # Ray alone gives up after some minutes
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith(f"error: backend.address=127.0.0.1:{port}: no Ray cluster answers (")


def test_a_worker_that_cannot_start_is_one_line_and_no_hang(cluster):
    class Broken:
        def __init__(self, settings):
            raise ImportError("No module named 'torch'")

        def about(self):
            return {}

    backend = Ray(BackendSpec(name="ray", workers=1), WorkerSettings("cpu", 1, None, False, "error", None), Broken)
    with pytest.raises(UserError, match=r"^backend=ray: a worker does not start: .*No module named 'torch'$") as error:
        list(backend.run([Block("t", {}, 0, (), Sampling())]))
    backend.close()
    assert error.value.exit_code == 1


def test_a_second_driver_on_one_run_folder_is_refused(cluster, tiny, tmp_path, capsys):
    run = RunFolder(tmp_path)
    run.open()
    try:
        assert swept(tmp_path, *tiny, *GPU) == 2
    finally:
        run.close()
    assert capsys.readouterr().err.count("error:") == 1


def test_without_ray_one_line_says_how_to_install_it(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert swept(tmp_path, *tiny, *GPU) == 2
    assert "pip install 'ivg-harness[ray]'" in capsys.readouterr().err


def test_nodes_are_asked_what_they_have(cluster, tiny_models):
    backend = Ray(BackendSpec(name="ray"), WorkerSettings("cpu", 1, None, False, "error", None))
    assert backend.check_nodes([tiny_models["base"]], 1) == []
    (line,) = backend.check_nodes([tiny_models["base"]], 1 << 60)
    assert "of memory, and the weights take" in line


def test_doctor_asks_the_nodes(cluster, tiny, capsys):
    assert main(["doctor", *tiny, "backend=ray"]) == 0
    said = capsys.readouterr().out
    assert "workers\n  every node has the packages, the models and the memory" in said
    assert main(["doctor", *tiny, "backend=ray", "backend.cpus_per_worker=64"]) == 2
    assert "no node has as many" in capsys.readouterr().err
