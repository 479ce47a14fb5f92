"""Judgements a second against the replay judge: at zero latency, and at 200 ms with 32 requests in flight.

    python -m benchmarks.judge --shared ../shared [--stock]

Each figure counts everything from the first question's making to the last judgement, disk included. ``--stock`` adds
alpaca_eval's own annotator on the same machine and server, on its first 128 rows.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from harness.judges.openai_judge import OpenAIJudge
from harness.records.judgement import Pair


@contextmanager
def replay(shared: Path, latency_ms: float):
    """A replay judge on loopback; its base URL."""
    outputs = shared / "data" / "alpaca_eval" / "outputs"
    command = [sys.executable, shared / "tools" / "replay_judge.py", "--latency-ms", latency_ms]
    command += ["--baseline", outputs / "gpt4_1106_preview.json.gz", "--outputs", outputs / "gemma-2b-it.json.gz"]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


def read(path: Path) -> dict[str, str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return {row["instruction"]: row["output"] for row in json.load(file)}


def ours(pairs: list[Pair], url: str) -> float:
    """Judgements a second."""
    judge = OpenAIJudge(base_url=url, in_flight=32, say=lambda _: None)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        judge.judge(pairs, "gpt4_1106_preview", Path(folder))
        return len(pairs) / (time.perf_counter() - began)


def stock(pairs: list[Pair], url: str) -> float:
    """Annotations a second by alpaca_eval's annotator; it writes its cache into a temporary folder."""
    from alpaca_eval.annotators import PairwiseAnnotator

    with tempfile.TemporaryDirectory() as folder:
        annotator = PairwiseAnnotator(caching_path=str(Path(folder) / "annotations.json"))
        for single in annotator.annotators.values():
            single.completions_kwargs |= {"openai_api_base": url, "openai_api_keys": "none"}
        rows = [{"instruction": p.instruction, "output_1": p.baseline, "output_2": p.response} for p in pairs]
        began = time.perf_counter()
        annotator(rows)
        return len(pairs) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--stock", action="store_true")
    options = parser.parse_args()
    outputs = options.shared / "data" / "alpaca_eval" / "outputs"
    baseline, model = read(outputs / "gpt4_1106_preview.json.gz"), read(outputs / "gemma-2b-it.json.gz")
    pairs = [Pair(text, baseline[text], response) for text, response in model.items()]
    for latency_ms, floor in ((0, 250), (200, 110)):
        with replay(options.shared, latency_ms) as url:
            speed = ours(pairs, url)
        print(f"{latency_ms:3d} ms latency, 32 in flight: {speed:6.1f} judgements/s (wanted: at least {floor})")
    if options.stock:
        with replay(options.shared, 0) as url:
            print(f"  0 ms latency, alpaca_eval:   {stock(pairs[:128], url):6.1f} annotations/s")


if __name__ == "__main__":
    main()
