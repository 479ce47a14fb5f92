"""From 10,662 sentences to a guided model: ``python -m benchmarks.rt_polarity DATA OUT``.

Every step is a command that anybody can type; this script writes the files between them and prints each before it runs.
Killed and started again it goes on where it was.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tasks.rt_polarity import data, gold

BASE = "new:192x4x6x2000"  # 2.2 million parameters
RESPONSES = [0, 1, 2, 3]  # seeds; from each prompt's responses come preferences and rewards
TOKENS = 40


def main(source: str, out: str, threads: int = 2) -> None:
    """Make base, pair and value, and measure them against each other.

    Args:
        source: the folder with rt-polarity.pos and rt-polarity.neg. out: where everything goes.
        threads: of torch, in every command.
    """
    began, folder = time.perf_counter(), Path(out)
    prepare(source, folder / "data")
    task = ["task=lm_eval", f"task.data={folder / 'data' / 'prompts.json'}", f"sampling.max_new_tokens={TOKENS}"]
    sizes = ["data.max_length=96", "held_out=0.05"]
    base, pair, value = (folder / name for name in ("base", "pair", "value"))
    harness(
        threads, "train", "train=sft", f"data={folder / 'data' / 'texts.jsonl'}", f"base={BASE}", f"out={base}", *sizes,
        "train.epochs=6", "train.batch_size=16", "train.learning_rate=2e-3",
    )  # fmt: skip
    samples = folder / "samples"
    harness(
        threads, "sweep", "preset=none", *task, "task.name=rt_polarity_train", "guider=base", "model=hf",
        f"model.base={base}", f"seeds={RESPONSES}".replace(" ", ""), "select.metric=null", f"run_dir={samples}",
        "sampling.temperature=1.0", "sampling.top_k=0", "sampling.top_p=1.0", "block=512",
    )  # fmt: skip
    preferences(samples, folder / "data")
    harness(
        threads, "train", "train=dpo", f"data={folder / 'data' / 'preferences.jsonl'}", f"base={base}", f"out={pair}",
        *sizes, "train.epochs=1", "train.batch_size=16", "train.learning_rate=1e-4", "train.beta=0.1",
    )  # fmt: skip
    harness(
        threads, "train", "train=fudge", f"data={folder / 'data' / 'rewards.jsonl'}", f"base={base}", f"out={value}",
        *sizes, "train.epochs=2", "train.batch_size=32", "train.learning_rate=1e-3",
    )  # fmt: skip
    models = {"base": base, "tuned": pair, "untuned": base, "value": value}
    harness(
        threads, "sweep", "preset=none", *task, "task.name=rt_polarity", "task.dev=rt_polarity_dev", "task.n_dev=64",
        "task.n_test=256", "model=hf", *(f"model.{role}={path}" for role, path in models.items()), "seeds=[0,1]",
        "guider=[base,best_of_n_explicit,eft,chunk_implicit,chunk_explicit,ivg]", "grid.weight=[0.5,1]", "grid.n=16",
        "grid.width=4", "grid.successors=4", "grid.length=5", f"run_dir={folder / 'run'}", "block=128",
        "sampling.temperature=0.7", "sampling.top_k=0", "sampling.top_p=1.0",
    )  # fmt: skip
    print(table(folder / "run"))
    print(f"{folder}: everything in {(time.perf_counter() - began) / 60:.1f} minutes with {threads} threads")


def prepare(source: str, folder: Path) -> None:
    """Write the gold reward, the prompts, and the texts of the language models' half that begin with no dev or test
    prompt."""
    if (folder / "texts.jsonl").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    theirs, ours = data.halves(data.sentences(source))
    write(folder / "gold.json", [gold.fit(theirs)])
    write(folder / "prompts.json", [data.prompts(ours)])
    # the whole sentence is the response: the base learns beginnings as well
    kept = [text for text, _ in ours if data.split_of(data.divided(text)[0]) == "train"]
    texts = [{"prompt": "", "response": text} for text in kept]
    write(folder / "texts.jsonl", texts)


def preferences(run: Path, folder: Path) -> None:
    """From sampled responses to rewards, and to preferences between each prompt's best and worst."""
    found: dict[str, dict[str, float]] = {}
    for records in sorted((run / "records").glob("*.jsonl")):
        scores = {row["key"]: row["scores"]["gold_reward"] for row in read(run / "scores" / records.name)}
        for row in read(records):
            found.setdefault(row["prompt"], {})[row["response"]] = scores[row["key"]]
    rewards, pairs = [], []
    for prompt, responses in sorted(found.items()):
        texts = sorted((text for text in responses if text.strip()), key=responses.get)
        rewards += [{"prompt": prompt, "response": text, "reward": responses[text]} for text in texts]
        if len(texts) > 1 and responses[texts[-1]] > responses[texts[0]]:
            pairs.append({"prompt": prompt, "chosen": texts[-1], "rejected": texts[0]})
    random.Random(0).shuffle(pairs)
    write(folder / "rewards.jsonl", rewards)
    write(folder / "preferences.jsonl", pairs)


def table(run: Path) -> str:
    """The gold reward of every method that reached the test prompts, and how far it lies above the base's: paired by
    prompt, the seeds of a prompt together, in standard deviations of the base's responses."""
    found: dict[str, dict[str, list[float]]] = {}
    for file in sorted((run / "trials").glob("*.json")):
        trial = json.loads(file.read_text(encoding="utf-8"))
        if trial["split"] != "test":
            continue
        settings = ", ".join(f"{name} {value:g}" for name, value in trial["settings"].items())
        by_prompt = found.setdefault(f"{trial['method']} | {settings}", {})
        for row in read(run / "scores" / f"{trial['id']}.jsonl"):
            by_prompt.setdefault(row["key"], []).append(row["scores"]["gold_reward"])
    base = next(rewards for name, rewards in found.items() if name.startswith("base "))
    spread = statistics.stdev(reward for rewards in base.values() for reward in rewards)
    lines = ["| method | settings | gold reward | above the base [95%], in the base's standard deviations |"]
    lines.append("|---|---|---:|---:|")
    for name, rewards in sorted(found.items(), key=lambda item: mean(item[1])):
        gains = [(statistics.fmean(rewards[key]) - statistics.fmean(base[key])) / spread for key in base]
        half = 1.96 * statistics.stdev(gains) / len(gains) ** 0.5
        gain = statistics.fmean(gains)
        shown = "" if rewards is base else f"{gain:+.2f} [{gain - half:+.2f}, {gain + half:+.2f}]"
        lines.append(f"| {name} | {mean(rewards):.2f} | {shown} |")
    lines.append(f"\n{len(base)} prompts; the base's standard deviation is {spread:.2f} nats.")
    return "\n".join(lines)


def mean(rewards: dict[str, list[float]]) -> float:
    """Over prompts of the mean over seeds."""
    return statistics.fmean(statistics.fmean(each) for each in rewards.values())


def read(path: Path) -> list[dict]:
    """The rows of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path: Path, rows: list[dict]) -> None:
    """One JSON object a line, the file whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    part.replace(path)


def harness(threads: int, *arguments: str) -> None:
    """Run one command, and stop where it fails."""
    print("python -m harness " + " ".join(arguments), flush=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    code = subprocess.run([sys.executable, "-m", "harness", *arguments], env=environment).returncode
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:4]))
