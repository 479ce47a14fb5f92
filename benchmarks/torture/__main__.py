"""``python -m benchmarks.torture``: make the attacks, print what survived; exit code 1 where something did not."""

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from shlex import quote

from benchmarks.torture.case import Case, Skipped

COUNTS = {"kills": 120, "faults": 100, "mutations": 49, "inputs": 1000}  # at most; about ten minutes on two cores
SEED = 12

_cases: list[Case] = []  # forked workers find the cases here, for functions cannot be sent to them


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torture", description=__doc__)
    parser.add_argument("--only", choices=COUNTS, action="append", help="of the four matrices, which (several times)")
    parser.add_argument("--count", type=int, help="attacks of each matrix; default: " + str(COUNTS))
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--case", help="the one attack of this name")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    os.environ |= {
        "HARNESS_CACHE": str(folder / "cache"), "HF_DATASETS_CACHE": str(folder / "datasets"), "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    began = time.monotonic()
    try:
        _cases[:] = [case for case in _prepared(asked, folder) if asked.case in (None, case.name)]
        outcomes = list(_run(folder, asked))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(_table(outcomes) + f"\n\n{time.monotonic() - began:.0f} s, seed {asked.seed}")
    return int(any(outcome not in (None, "skipped") for _, outcome in outcomes))


def _prepared(asked: argparse.Namespace, folder: Path) -> Iterator[Case]:
    from benchmarks.torture import attempt, faults, inputs, kills, mutations, scene

    counts = {name: asked.count or most for name, most in COUNTS.items() if name in (asked.only or COUNTS)}
    scene.fixtures()
    import tiny_sweep

    print("making models, and the runs that nobody disturbs", file=sys.stderr, flush=True)
    models = tiny_sweep.make_models(folder / "models")
    if counts.keys() == {"inputs"}:
        scenes: dict[str, scene.Scene] = {}
        attempt.preload(["sweep", *tiny_sweep.options(models), f"run_dir={folder / 'import'}"], folder)
    else:
        scenes = scene.scenes(folder, models)
    made = {
        "kills": lambda count: kills.cases(scenes, count, asked.seed),
        "faults": lambda count: faults.cases(scenes, count, asked.seed),
        "mutations": lambda count: mutations.cases(scenes, count, asked.seed, folder / "sweep" / "whole" / "run"),
        "inputs": lambda count: inputs.cases(tiny_sweep.options(models), count, asked.seed),
    }
    for name, count in counts.items():
        yield from made[name](count)


def _run(folder: Path, asked: argparse.Namespace) -> Iterator[tuple[Case, str | None]]:
    """Every case with its outcome, several at once, in their order; failures are told as they are found."""
    with ProcessPoolExecutor(asked.workers, get_context("fork")) as pool:
        for number, outcome in pool.map(_one, ((place, folder) for place in range(len(_cases)))):
            case = _cases[number]
            if outcome not in (None, "skipped"):
                again = f"python -m benchmarks.torture --only {case.matrix} --case {quote(case.name)}"
                again += f" --seed {asked.seed}" + (f" --count {asked.count}" if asked.count else "")
                print(f"{case.matrix}: {case.name}\n  {outcome}\n  again: {again}", file=sys.stderr, flush=True)
            yield case, outcome


def _one(what: tuple[int, Path]) -> tuple[int, str | None]:
    number, folder = what
    place = folder / "cases" / str(number)
    try:
        return number, _cases[number].run(place)
    except Skipped as why:
        print(f"{_cases[number].name}: skipped: {why}", file=sys.stderr, flush=True)
        return number, "skipped"
    except Exception:
        return number, traceback.format_exc()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _table(outcomes: list[tuple[Case, str | None]]) -> str:
    lines = ["| attack | tried | survived | skipped |", "|---|---:|---:|---:|"]
    for matrix in COUNTS:
        found = [outcome for case, outcome in outcomes if case.matrix == matrix]
        if found:
            skipped = found.count("skipped")
            lines.append(f"| {matrix} | {len(found) - skipped} | {found.count(None)} | {skipped} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
