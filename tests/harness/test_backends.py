"""Where blocks are decoded, and in which order they come back, is seen in no record."""

import pickle

import pytest

from harness.backends.protocol import Backend
from harness.backends.serial import Serial
from harness.models.pool import Resolver
from harness.progress import Display
from harness.records.manifest import Manifest
from harness.records.run_folder import RunFolder
from harness.sweep.plan import Plan
from harness.sweep.runner import Runner
from harness.trials.composed import composed_sweep


class LastFirst(Backend):
    """Takes every block of all trials at once, as a backend with workers does, and gives the last one back first."""

    def __init__(self, serial: Serial):
        self.serial, self.blocks = serial, []

    def run(self, items):
        self.blocks = pickle.loads(pickle.dumps(list(items)))
        yield from self.serial.run(reversed(self.blocks))


def swept(overrides, folder, backend=None) -> tuple[dict, dict, int]:
    """Records and scores of a sweep's first stage, by trial and prompt; times left out."""
    composed = composed_sweep([*overrides, "block=2"])
    run = RunFolder(folder)
    run.open()
    manifest = Manifest(folder / "manifest.json")
    plan = Plan(composed.sweep, composed.settings, Resolver(), run, manifest)
    runner = Runner(plan, manifest, Display())
    if backend is not None:
        runner.backend = backend(runner.backend)
    runner.prepare()
    new = runner.run(plan.first_stage())
    run.close()
    found = []
    for kind in (run.records, run.scores):
        rows = {job.trial.id: run.rows(kind(job.trial.id)) for job in plan.first_stage()}
        found.append({t: {key: {**row, "seconds": 0} for key, row in rows[t].items()} for t in rows})
    return found[0], found[1], new


@pytest.mark.parametrize("more", [[], ["task.num_fewshot=2"]])
def test_a_backend_that_takes_all_blocks_and_answers_backwards_leaves_the_same_records(tiny, tmp_path, more):
    first = swept([*tiny, *more], tmp_path / "serial")
    backward = swept([*tiny, *more], tmp_path / "backward", LastFirst)
    assert first == backward
    assert first[2] == sum(map(len, first[0].values())) > 0
    assert {t: set(rows) for t, rows in first[0].items()} == {t: set(rows) for t, rows in first[1].items()}
    again = swept([*tiny, *more], tmp_path / "serial")
    assert again == (first[0], first[1], 0)


def test_a_block_that_lost_a_record_is_decoded_whole_and_only_that_record_is_added(tiny, tmp_path):
    records, scores, _ = swept(tiny, tmp_path)
    trial = next(iter(records))
    file = tmp_path / "records" / f"{trial}.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:2] + lines[3:]))
    asked = []

    class Watched(LastFirst):
        def run(self, items):
            for block, found in self.serial.run(items):
                asked.append((block.trial, block.start, len(block.prompts)))
                yield block, found

    assert swept(tiny, tmp_path, Watched) == (records, scores, 1)
    assert asked == [(trial, 2, 2)]
