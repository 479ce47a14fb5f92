"""The command line of `benchmarks.gpu`."""

import argparse
import importlib
import sys
import time
import traceback
from pathlib import Path

from benchmarks.gpu.results import Results
from benchmarks.gpu.session import Session
from benchmarks.gpu.table import summary
from harness.bench.shapes import SHAPES
from harness.errors import UserError

STAGES = ("right", "fast", "whole", "product", "kernels")  # in the order of their worth


def main(arguments: list[str] | None = None) -> int:
    """Run what is not in the file yet. Returns 0, or 1 where a step failed (its line says why)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="What only a GPU can show.")
    parser.add_argument("--minutes", type=float, default=8.0, help="no step begins that would not end within (8)")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu.jsonl"), help="the figures; a file is continued")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu with tiny shapes")
    parser.add_argument("--stage", action="append", choices=STAGES, help="only this one; may be given again")
    parser.add_argument("--shape", choices=SHAPES, help="of the models; default: the largest that fits")
    parser.add_argument("--quick", action="store_true", help="tiny shapes and few rows: does all of it run?")
    parser.add_argument("--again", action="store_true", help="run the steps again that failed")
    args = parser.parse_args(arguments)
    try:
        session = Session(args.device, args.minutes, args.shape, args.quick)
        results = Results(args.out, session.header())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for line in results.lines[0]["cannot"]:
        print(f"not measured here: {line}", file=sys.stderr)
    for stage in args.stage or STAGES:
        if not run_stage(stage, session, results, args.again):
            break
    print(summary(results))
    print(f"figures: {args.out}")
    return int(any("error" in line for stage in STAGES for line in results.of(stage).values()))


def run_stage(stage: str, session: Session, results: Results, again: bool = False) -> bool:
    """Run the steps of a stage that have no line yet; False where the device can't be used any more."""
    for step in importlib.import_module(f"benchmarks.gpu.{stage}").steps(session):
        before = results.of(stage).get(step.name)
        if before and not (again and "error" in before):
            continue
        if not session.quick and step.seconds > session.left():
            print(f"{stage}: {step.name}: {session.left():.0f} s are left; run again to go on", file=sys.stderr)
            continue
        started = time.perf_counter()
        try:
            figures = step.work()
        except Exception as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            where = traceback.extract_tb(error.__traceback__)[-1]
            figures = {"error": f"{type(error).__name__}: {reason}", "where": f"{where.filename}:{where.lineno}"}
        session.clear()
        results.write(stage, step.name, {**figures, "seconds": round(time.perf_counter() - started, 3)})
        print(f"{stage}: {step.name}: {figures.get('error', 'done')}", file=sys.stderr, flush=True)
        if "CUDA error" in figures.get("error", ""):
            print("error: the device is in a state that only a new process clears; run again", file=sys.stderr)
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
