"""How fast this checkout decodes beside another commit's: `python -m benchmarks.before_after COMMIT`.

Two processes, one per checkout, hold the bench's random models; the methods run in them in turn, in changing order, so
that a machine whose speed drifts favours neither. Printed: CPU seconds of each run and, per method, the median over the
rounds of (the commit's seconds / this checkout's): above 1 is faster than before.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
WORKER = """
import json, sys, time, torch
from guiders import Sampling
from harness.bench.models import Models
from harness.bench.settings import Bench
from harness.bench.variants import decoder
spec = Bench.model_validate(json.loads(sys.argv[1]))
torch.set_num_threads(spec.threads)
models = Models(spec)
prompts = models.prompts(spec.prompts, *spec.prompt_tokens, spec.seed)
sampling = Sampling(max_new_tokens=spec.new_tokens, seed=spec.seed)
runs = {m: decoder(m, models.guider(m, spec.grid), prompts, sampling) for m in spec.methods}
for m in spec.methods:
    decoder(m, models.guider(m, spec.grid), prompts, Sampling(max_new_tokens=2)).run()
print("ready", flush=True)
for line in sys.stdin:
    start = time.process_time()
    runs[line.strip()].run()
    print(time.process_time() - start, flush=True)
"""


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit", help="the commit that is compared with this checkout")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--methods", nargs="+", default=["ivg", "chunk_implicit", "eft"])
    args = parser.parse_args()
    spec = {
        "prompts": args.prompts,
        "new_tokens": args.new_tokens,
        "vocabulary": args.vocabulary,
        "methods": args.methods,
        "scaling": [],
    }
    with tempfile.TemporaryDirectory() as scratch:
        other = Path(scratch) / "other"
        subprocess.run(["git", "-C", HERE, "worktree", "add", "-q", "--detach", other, args.commit], check=True)
        try:
            compare({"before": other, "after": HERE}, spec, args.rounds)
        finally:
            subprocess.run(["git", "-C", HERE, "worktree", "remove", "--force", other], check=True)


def compare(trees: dict[str, Path], spec: dict, rounds: int) -> None:
    """Run every method in both trees `rounds` times in turn, and print seconds and ratios."""
    workers = {name: _worker(tree, spec) for name, tree in trees.items()}
    for worker in workers.values():
        if worker.stdout.readline().strip() != "ready":
            sys.exit("error: a worker did not start; its message is above")
    seconds = {(name, method): [] for name in trees for method in spec["methods"]}
    for index in range(rounds):
        for method in spec["methods"]:
            for name in list(trees) if index % 2 == 0 else list(trees)[::-1]:
                worker = workers[name]
                print(method, file=worker.stdin, flush=True)
                seconds[name, method].append(float(worker.stdout.readline()))
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()
    for method in spec["methods"]:
        pairs = zip(seconds["before", method], seconds["after", method], strict=True)
        ratios = [before / after for before, after in pairs]
        for name in trees:
            print(f"{method:16} {name:7}", *(f"{s:7.2f}" for s in seconds[name, method]), "CPU s")
        print(f"{method:16} ratio  ", *(f"{r:7.3f}" for r in ratios), f"median {statistics.median(ratios):.3f}")


def _worker(tree: Path, spec: dict) -> subprocess.Popen:
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, json.dumps(spec)],
        cwd=tree,
        env=os.environ | threads | {"PYTHONPATH": str(tree)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


if __name__ == "__main__":
    main()
