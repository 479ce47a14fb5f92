"""What each trick of guiders/cpu gains: `python -m benchmarks.cpu_ablation [--rounds 5]`.

Every method is decoded with all tricks and without each one, in turn, in changing order. Printed: per trick and method
the median over the rounds of (CPU seconds without it / CPU seconds with all) - 1, and the least and the most.
"""

import argparse
import statistics
import time
from contextlib import ExitStack

import torch

from guiders import Sampling
from guiders.cpu.switch import TRICKS, without
from harness.bench.models import Models
from harness.bench.settings import Bench
from harness.bench.variants import decoder


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--base", default="gpt2-85m")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--methods", nargs="+", default=["ivg", "chunk_implicit", "eft"])
    args = parser.parse_args()
    spec = Bench(base=args.base, prompts=args.prompts, new_tokens=args.new_tokens, methods=args.methods, scaling=[])
    torch.set_num_threads(spec.threads)
    leaving_out: list[tuple[str, ...]] = [(), *((trick,) for trick in TRICKS)]
    models = {left: _models(spec, left) for left in ((), ("gelu",))}  # the activation is replaced as a model is loaded
    seconds: dict[tuple, list[float]] = {}
    for index in range(-1, args.rounds):  # the first round only warms up
        for method in args.methods:
            for left in leaving_out if index % 2 == 0 else leaving_out[::-1]:
                spent = _seconds(spec, models[left if left in models else ()], method, left)
                if index >= 0:
                    seconds.setdefault((method, left), []).append(spent)
    for trick in TRICKS:
        for method in args.methods:
            pairs = zip(seconds[method, (trick,)], seconds[method, ()], strict=True)
            gains = [100 * (slow / fast - 1) for slow, fast in pairs]
            median = statistics.median(gains)
            print(f"{trick:10} {method:16} {median:+6.1f}%  ({min(gains):+.1f} to {max(gains):+.1f})")


def _models(spec: Bench, left: tuple[str, ...]) -> Models:
    with without(*left):
        return Models(spec)


def _seconds(spec: Bench, models: Models, method: str, left: tuple[str, ...]) -> float:
    prompts = models.prompts(spec.prompts, *spec.prompt_tokens, spec.seed)
    run = decoder(method, models.guider(method, spec.grid), prompts, Sampling(max_new_tokens=spec.new_tokens)).run
    with ExitStack() as stack:
        stack.enter_context(without(*left))
        start = time.process_time()
        run()
        return time.process_time() - start


if __name__ == "__main__":
    main()
