"""What a run's files hold is what was written there: 49 changes to a row, each noticed by every reader and made good.

The run before the mutation is what it must be again; nothing else is compared with.
"""

import json
import random
import shutil
from pathlib import Path

import pytest
from mutations import ALL

from harness.cli import main
from harness.errors import UserError
from harness.records.lines import Lines
from harness.records.run_folder import RunFolder
from reports.errors import ReportError
from reports.run import load_run

SEED = 12
TIMES = {"seconds", "checksum"}


@pytest.fixture(scope="module")
def options(tiny) -> list[str]:
    more = ["select.metric=null", "guider=[eft,best_of_n_implicit]", "grid.n=4", "grid.weight=1", "task.n_test=13"]
    return [*tiny, *more, "seeds=[0,1]", "sampling.max_new_tokens=4"]


@pytest.fixture(scope="module")
def finished(options, tmp_path_factory) -> Path:
    """A run of two guiders and the base, two seeds, 13 prompts: 78 records, 78 scores, 52 judgements."""
    run = tmp_path_factory.mktemp("mutations") / "run"
    assert main(["sweep", *options, f"run_dir={run}"]) == 0
    return run


@pytest.fixture
def run(finished, tmp_path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def files(run: Path, kind: str) -> list[Path]:
    """The guiders' files of a kind, best-of-N's first: it is where a value and a divergence of the search are."""
    return sorted(path for path in (run / kind).glob("*.jsonl") if not path.name.startswith("base-"))


def content(run: Path) -> dict:
    """(kind, trial, key) -> the row that counts, without times."""
    found = {}
    for kind in ("records", "scores", "judgements"):
        for path in (run / kind).glob("*.jsonl"):
            if not path.stem.endswith(".rejected"):
                for row in Lines(path):
                    found[kind, path.stem, row["key"]] = {k: v for k, v in row.items() if k not in TIMES}
    return found


def mutated(run: Path, whole: Path, kind: str, name: str, place: int, rng, number: int = 0) -> tuple[Path, bytes]:
    """Mutate a line; the file, and the line as it then is."""
    path, other = files(run, kind)[number], files(whole, kind)[(number + 1) % 4]
    lines, before = path.read_bytes().splitlines(keepends=True), path.read_bytes()
    after = ALL[kind, name](lines, place, other.read_bytes().splitlines(keepends=True), rng)
    assert b"".join(after) != before
    path.write_bytes(b"".join(after))
    return path, after[place]


def test_there_are_49_of_them():
    assert len(ALL) == 49


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_changed_row_is_named_by_whoever_reads_it(kind, name, run, finished):
    path, _ = mutated(run, finished, kind, name, 5, random.Random(SEED))
    folder = RunFolder(run)
    with pytest.raises(UserError, match=f"{kind}/{path.name}:6: .*run the sweep again"):
        folder.rows(getattr(folder, kind)(path.stem))
    with pytest.raises(ReportError, match=f"{kind}/{path.name}:6: .*run the sweep again"):
        load_run(run)


def test_49_changed_rows_are_set_aside_and_made_anew_and_nothing_else_is_touched(options, run, finished, capsys):
    rng = random.Random(SEED)
    before = content(run)
    places = {
        kind: iter(rng.sample([(file, place) for file in range(4) for place in range(1, 13)], 48)) for kind, _ in ALL
    }
    expected = []
    for kind, name in ALL:
        file, place = next(places[kind])
        path, line = mutated(run, finished, kind, name, place, rng, file)
        expected.append((kind, path.name, place + 1, line))
    capsys.readouterr()
    assert main(["sweep", *options, f"run_dir={run}"]) == 0
    told = capsys.readouterr()
    assert "generated 32 samples" in told.out  # one for each record that was mutated
    assert content(run) == before
    rejected = {
        (kind, path.name.replace(".rejected", ""), row["line"]): row
        for kind in places
        for path in (run / kind).glob("*.rejected.jsonl")
        for row in Lines(path)
        if row["fault"] != "of a response that is not there any more"
    }
    assert set(rejected) == {(kind, name, number) for kind, name, number, _ in expected}
    assert len(rejected) == 49
    for kind, name, number, line in expected:
        assert rejected[kind, name, number]["text"] == line.decode(errors="backslashreplace").rstrip("\n")
    assert told.err.count("set aside in ") == 20  # the others are counted
    assert "more rows were set aside" in told.err
    assert main(["sweep", *options, f"run_dir={run}"]) == 0
    told = capsys.readouterr()
    assert "nothing to generate" in told.out
    assert "set aside" not in told.err
    load_run(run)


def test_scores_and_judgements_of_a_response_that_is_gone_go_with_it(options, run, capsys):
    """A base's response is what every guider's is judged against: all of them are judged again."""
    before = content(run)
    base = next((run / "records").glob("base-*.jsonl"))
    lines = base.read_bytes().splitlines(keepends=True)
    key = json.loads(lines[3])["key"]
    base.write_bytes(b"".join(lines[:3] + lines[4:]))
    capsys.readouterr()
    assert main(["sweep", *options, f"run_dir={run}"]) == 0
    assert "generated 1 samples" in capsys.readouterr().out
    assert content(run) == before
    gone = {path.parent.name: [row["text"] for row in Lines(path)] for path in run.glob("*/*.rejected.jsonl")}
    assert set(gone) == {"scores", "judgements"}
    assert len(list(run.glob("judgements/*.rejected.jsonl"))) == 2
    assert all(key in text for texts in gone.values() for text in texts)


def test_a_run_without_checksums_stays_readable_and_says_so_once(options, run, capsys):
    for path in run.glob("*/*.jsonl"):
        rows = [{name: value for name, value in row.items() if name != "checksum"} for row in Lines(path)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["signed_rows"]
    (run / "manifest.json").write_text(json.dumps(manifest))
    before = content(run)
    load_run(run)
    capsys.readouterr()
    assert main(["sweep", *options, f"run_dir={run}"]) == 0
    told = capsys.readouterr()
    assert "nothing to generate" in told.out
    assert told.err.count("208 rows were written by an earlier version, without checksums") == 1
    assert content(run) == before


@pytest.mark.parametrize("preference", [9.0, 0, float("nan"), "model", True])
def test_a_preference_that_is_none_is_refused_in_an_old_run_too(run, preference):
    path = files(run, "judgements")[0]
    rows = [{name: value for name, value in row.items() if name != "checksum"} for row in Lines(path)]
    rows[2]["preference"] = preference
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run / "manifest.json").unlink()
    with pytest.raises(ReportError, match=f"{path.name}:3: a preference of"):
        load_run(run)
