"""How long blocks take on several workers: by hand, and the bounds of list scheduling."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.backends.makespan import makespan
from harness.cli import main
from harness.config.schema import BackendSpec
from harness.models.pool import Resolver
from harness.progress import duration
from harness.sweep.estimate import _blocks, _time

DOC = Path(__file__).resolve().parents[2] / "docs" / "scale.md"


@pytest.mark.parametrize(
    ("blocks", "workers", "seconds"),
    [([], 3, 0), ([2, 2, 2], 1, 6), ([2, 2, 2], 2, 4), ([3, 1, 1, 1], 2, 3), ([1, 1, 1, 3], 2, 4), ([5], 8, 5)],
)
def test_a_free_worker_takes_the_next_block(blocks, workers, seconds):
    assert makespan(blocks, workers) == seconds


def test_it_lies_between_the_share_of_each_worker_and_that_plus_the_longest_block():
    blocks = [(7 * i) % 11 + 1 for i in range(200)]
    for workers in (1, 2, 8, 64):
        share = sum(blocks) / workers
        assert share <= makespan(blocks, workers) <= share + max(blocks)


def test_a_dry_run_says_how_long_workers_take():
    """Six samples of ten seconds in blocks of two, then two: 60 + 20 s alone; on two workers 40, then 20 s."""
    sweep = SimpleNamespace(block=2, backend=BackendSpec(name="ray"))
    first, second = _blocks(6, 10.0, 2), _blocks(2, 10.0, 2)
    assert (first, second) == ([20.0] * 3, [20.0])
    assert _blocks(3, 10.0, 2) == [20.0, 10.0]
    said = _time(SimpleNamespace(sweep=sweep), first, second)
    assert said.startswith("about 1 min 20 s on 1 worker, 40 s on 8 workers, 40 s on 64 workers;")
    sweep.backend = BackendSpec(name="ray", workers=2)
    assert _time(SimpleNamespace(sweep=sweep), first, second).startswith("about 1 min 0 s on 2 workers;")
    sweep.backend = BackendSpec()
    assert _time(SimpleNamespace(sweep=sweep), first, second) == "about 1 min 20 s"


def test_before_anything_is_recorded_a_dry_run_says_the_floor_of_a_gpu(monkeypatch, tmp_path, capsys):
    """IVG of four models with 6.738 thousand million parameters in 16 bits, W = K = 2, L = 30, 512 tokens: by hand."""
    monkeypatch.setattr(Resolver, "revision", lambda self, spec, place: "no network")
    asked = ["preset=paper_alpaca_ultra", "guider=ivg", "grid.weight=[0.5,1]", "sampling.max_new_tokens=512"]
    run = [f"run_dir={tmp_path / 'run'}", "backend=ray", "judge=null"]
    assert main(["sweep", "--dry-run", *asked, *run]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    weights = 2 * 6.738e9
    together = 32768 // (2 * (512 + 2 * 30))  # prompts, in caches of 32,768 tokens
    guided = (3 * weights + weights / 30) / 4.8e12 * 512 / together  # bytes; the value reads its weights once a chunk
    assert guided > 2 * 4 * 6.738e9 * 4 / 9.9e14 * 512  # operations
    alone = weights / 4.8e12 * 512 / (32768 // (2 * 512))
    blocks = [64 * each for each in (alone, guided, guided) for _ in range(12)]  # 805 prompts: 12 of 64, and 37
    blocks += [37 * each for each in (alone, guided, guided)]
    longest = 64 * guided
    assert f"a floor of an H200) about {duration(sum(blocks))} on 1 worker, " in said
    assert f", {duration(longest)} on 64 workers; loading models, scoring and judging come on top" in said


@pytest.mark.parametrize(
    ("row", "settings"),
    [
        ("ivg", ["grid.weight=[0.5,1,1.5,2,2.5]", "grid.length=[10,20,30,40]"]),
        ("eft", [f"grid.weight=[{','.join(f'{place / 10:g}' for place in range(1, 21))}]"]),
    ],
)
def test_the_table_of_the_documentation_is_what_a_dry_run_says(row, settings, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(Resolver, "revision", lambda self, spec, place: "no network")
    asked = ["preset=paper_alpaca_ultra", f"guider={row}", *settings, "sampling.max_new_tokens=512", "judge=null"]
    assert main(["sweep", "--dry-run", *asked, f"run_dir={tmp_path / 'run'}", "backend=ray"]) == 0
    said = re.findall(r"([\w ]+) on \d+ workers?", capsys.readouterr().out.splitlines()[-1].replace("about ", ""))
    (line,) = [line for line in DOC.read_text().splitlines() if line.startswith(f"| `guider={row}")]
    assert [cell.strip() for cell in line.split("|")[2:5]] == [one.strip() for one in said]
