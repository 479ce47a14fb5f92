"""The driver of a Ray sweep is killed HARNESS_KILLS (2) times: the run that ends has every record once."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'ivg-harness[ray]'")

from test_ray import rows, swept

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("HARNESS_KILLS", "2"))


@pytest.mark.timeout(300 + 60 * KILLS)
def test_a_driver_killed_at_random_moments_leaves_the_records_of_a_serial_run(tiny, tmp_path):
    run, moments = tmp_path / "run", random.Random(7)
    command = [sys.executable, "-m", "harness", "sweep", f"run_dir={run}", *tiny, "backend=ray", "block=1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    for kill in range(KILLS):
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
        wanted = (kill + 1) * 24 // (KILLS + 1)  # records of some 72, so that every kill finds some work done
        while process.poll() is None and recorded(run) < wanted:
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = recorded(run)
    assert (
        subprocess.run(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, check=False).returncode == 0
    )
    assert 0 < before < recorded(run)
    assert swept(tmp_path / "serial", *tiny, "block=1") == 0
    assert rows(run) == rows(tmp_path / "serial")


def recorded(run: Path) -> int:
    return sum(file.read_bytes().count(b"\n") for file in run.glob("records/*.jsonl"))
