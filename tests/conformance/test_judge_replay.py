"""The judge verb against recorded GPT-4-Turbo preferences, replayed over HTTP: the published row, whatever fails."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.verbs.judge import main

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("SHARED_DIR", ROOT.parent / "shared"))
OUTPUTS = SHARED / "data" / "alpaca_eval" / "outputs"
SERVER = SHARED / "tools" / "replay_judge.py"
pytestmark = pytest.mark.skipif(not SERVER.exists(), reason="needs the recorded preferences in ../shared (SHARED_DIR)")

# The leaderboard's published row of gemma-2b-it.
WIN_RATE, STANDARD_ERROR, LC_WIN_RATE = 3.4019714381, 0.5389981250, 5.4375


@contextmanager
def replay(*options: str, port: int = 0):
    command = [sys.executable, SERVER, "--baseline", OUTPUTS / "gpt4_1106_preview.json.gz"]
    command += ["--outputs", OUTPUTS / "gemma-2b-it.json.gz", "--port", str(port), *options]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


def overrides(url: str, run: Path, *more: str) -> list[str]:
    return [
        "task=alpaca_eval",
        "judge=openai",
        f"judge.base_url={url}",
        "judge.backoff=0.02",
        f"outputs={OUTPUTS / 'gemma-2b-it.json.gz'}",
        f"reference={OUTPUTS / 'gpt4_1106_preview.json.gz'}",
        f"run={run}",
        *more,
    ]


def summary(run: Path) -> dict:
    return json.loads((run / "summary.json").read_text())


def requests(url: str) -> int:
    with urllib.request.urlopen(f"{url}/stats") as answer:
        return json.load(answer)["requests"]


@pytest.fixture(scope="module")
def honest_run(tmp_path_factory) -> Path:
    """A run in which nothing fails."""
    run = tmp_path_factory.mktemp("honest")
    with replay() as url:
        assert main(overrides(url, run)) == 0
        assert requests(url) == 805
        assert main(overrides(url, run)) == 0
        assert requests(url) == 805
    return run


@pytest.fixture(scope="module")
def honest(honest_run) -> dict:
    return summary(honest_run)


def test_the_published_row_comes_out(honest):
    assert honest["win_rate"] == pytest.approx(WIN_RATE, abs=1e-9)
    assert honest["standard_error"] == pytest.approx(STANDARD_ERROR, abs=1e-9)
    assert honest["lc_win_rate"] == pytest.approx(LC_WIN_RATE, abs=0.05)
    assert (honest["n"], honest["n_missing"]) == (805, 0)
    assert honest["lc_difficulty"] is True


@pytest.mark.parametrize("status", [500, 429])
def test_every_seventh_request_failing_changes_no_digit(honest, status, tmp_path):
    with replay("--fail-every", "7", "--status", str(status)) as url:
        assert main(overrides(url, tmp_path)) == 0
        assert requests(url) > 805
    figures = ("win_rate", "standard_error", "lc_win_rate", "lc_standard_error", "n", "n_missing", "avg_length")
    assert {name: summary(tmp_path)[name] for name in figures} == {name: honest[name] for name in figures}


def test_garbage_is_missing_named_and_asked_again_alone(honest, tmp_path, capsys):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with replay("--garbage-every", "50", port=port) as url:
        assert main(overrides(url, tmp_path)) == 3
    found = summary(tmp_path)
    assert (found["n"], found["n_missing"]) == (789, 16)
    assert len({missing["key"] for missing in found["missing"]}) == 16
    said = capsys.readouterr().err
    assert all(missing["key"] in said for missing in found["missing"])
    assert "judge.max_missing" in said
    with replay(port=port) as url:
        assert main(overrides(url, tmp_path)) == 0
        assert requests(url) == 16
    assert summary(tmp_path)["win_rate"] == honest["win_rate"]


def test_killed_half_way_no_stored_answer_is_asked_again(honest, tmp_path):
    in_flight = 16
    program = "import sys; from harness.verbs.judge import main; sys.exit(main(sys.argv[1:]))"
    with replay() as url:
        options = overrides(url, tmp_path, f"judge.in_flight={in_flight}")
        process = subprocess.Popen(
            [sys.executable, "-c", program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        file = tmp_path / "answers.jsonl"
        while not file.exists() or file.read_bytes().count(b"\n") < 200:
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.1)  # requests that were on their way arrive
        stored, before = file.read_bytes().count(b"\n"), requests(url)
        assert before - stored <= in_flight
        assert main(overrides(url, tmp_path)) == 0
        assert requests(url) - before == 805 - stored
    assert summary(tmp_path)["win_rate"] == honest["win_rate"]


def test_replay_gives_the_same_row_without_a_server(honest_run, capsys):
    first = (honest_run / "summary.json").read_bytes()
    options = [option for option in overrides("", honest_run) if not option.startswith("judge")]
    assert main([*options, "judge=replay"]) == 0
    assert (honest_run / "summary.json").read_bytes() == first
    assert re.search(r"gemma-2b-it\s+3\.4020\s+0\.5390\s+5\.4\d{3}\s+1041\.6286\s+805\s+0", capsys.readouterr().out)
