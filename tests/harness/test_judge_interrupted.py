"""A judge that is stopped or killed while a server answers: what was stored is not asked again."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from scripted_server import ScriptedServer, refusal
from test_judge_openai import PAIRS, judge, key, prefers_the_model  # noqa: F401

PROGRAM = (
    "import json, signal, sys; from pathlib import Path\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which a job in the background ignores
    "from harness.records.judgement import Pair; from harness.judges.openai_judge import OpenAIJudge\n"
    "pairs = [Pair(*row) for row in json.loads(sys.argv[2])]\n"
    "OpenAIJudge(model='judge-1', base_url=sys.argv[1], in_flight=1).judge(pairs, 'base', Path(sys.argv[3]))\n"
)


def started(server, folder) -> subprocess.Popen:
    """A process that judges."""
    rows = json.dumps([(pair.instruction, pair.baseline, pair.response) for pair in PAIRS])
    command = [sys.executable, "-c", PROGRAM, server.url, rows, str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("hangs", ["before the answer", "within it"])
def test_ctrl_c_is_heard_while_a_server_hangs(hangs, tmp_path):
    """The first answer is on the disk, the second never comes; a request may last two minutes."""
    over = threading.Event()

    def script(number, body):
        if number == 1:
            return prefers_the_model(number, body)
        if hangs == "within it":
            return 200, {}, iter(lambda: b" " if not over.wait(0.05) else b"", b"")
        over.wait(60)
        return refusal(500)

    with ScriptedServer(script) as server:
        process = started(server, tmp_path)
        while len(server.bodies) < 2:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(timeout=15) != 0
        finally:
            process.kill()
            over.set()
    assert (tmp_path / "answers.jsonl").read_bytes().count(b"\n") == 1


def test_killed_half_way_no_stored_answer_is_asked_again(tmp_path):
    """One request at a time, so that no answer can be on its way when the process dies."""

    def slowly(number, body):
        time.sleep(0.02)
        return prefers_the_model(number, body)

    with ScriptedServer(slowly) as server:
        process = started(server, tmp_path)
        file = tmp_path / "answers.jsonl"
        while not file.exists() or file.read_bytes().count(b"\n") < 5:
            assert process.poll() is None
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        stored = file.read_bytes().count(b"\n")
        asked = len(server.bodies)
        found = judge(server).judge(PAIRS, "base", tmp_path)
    assert len(server.bodies) - asked == len(PAIRS) - stored
    assert all(judgement.preference is not None for judgement in found)
