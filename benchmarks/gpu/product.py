"""Stage d: the embedded sweep on the device, beside the same on the CPU: figures within each other's intervals."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.gpu.session import Session, Step, without_sweep

ROOT = Path(__file__).resolve().parents[2]
METRICS = ("gold_reward", "win_rate", "fluency", "kl", "length")


def steps(session: Session) -> Iterator[Step]:
    """One sweep on each device, at the same time."""
    if not without_sweep() and not session.quick:
        yield Step("embedded sweep", partial(compared, session), seconds=240)


def compared(session: Session) -> dict:
    """Run both sweeps, and compare every setting's figures.

    Raises:
        RuntimeError: a sweep failed; the last line that it wrote.
    """
    with TemporaryDirectory() as scratch:
        folders = {device: Path(scratch) / device.partition(":")[0] for device in (str(session.device), "cpu")}
        running = {device: _sweep(device, folder) for device, folder in folders.items()}
        try:
            for device, process in running.items():
                _, said = process.communicate(timeout=max(1.0, session.left()))
                if process.returncode:
                    raise RuntimeError(f"the sweep on {device} failed: {said.strip().splitlines()[-1:]}")
        finally:
            for process in running.values():
                process.kill()
        rows = {device: _summary(folder) for device, folder in folders.items()}
    return outside(rows[str(session.device)], rows["cpu"])


def _sweep(device: str, folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "harness", "sweep", "preset=gate", f"device={device}", f"run_dir={folder}"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "4"}
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _summary(folder: Path) -> list[dict]:
    return json.loads((folder / "report" / "summary.json").read_text(encoding="utf-8"))


def outside(ours: list[dict], theirs: list[dict]) -> dict:
    """Figures of a report's summary that lie outside the interval of another's, of the same method and settings.

    Raises:
        RuntimeError: the settings are not the same.
    """
    by_setting = [{json.dumps([row["method"], row["settings"]]): row for row in rows} for rows in (ours, theirs)]
    if by_setting[0].keys() != by_setting[1].keys():
        raise RuntimeError(f"other settings: {sorted(by_setting[0].keys() ^ by_setting[1].keys())}")
    found, count = [], 0
    for setting, row in by_setting[0].items():
        for metric in METRICS:
            one, other = row.get(metric), by_setting[1][setting].get(metric)
            if one and other and None not in (one["low"], other["low"]):
                count += 1
                slack = 1e-6 * (1 + abs(other["mean"]))
                if not other["low"] - slack <= one["mean"] <= other["high"] + slack:
                    found.append({"setting": setting, "metric": metric, "ours": one, "theirs": other})
    return {"figures": count, "outside": found}
