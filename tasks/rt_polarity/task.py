"""What the task YAMLs call: prompts from the file that the end-to-end script has written, scored by its gold reward."""

import json
from pathlib import Path

from tasks.errors import TaskError
from tasks.rt_polarity import gold


def load(data: str | None = None, **_) -> dict:
    """{split: datasets.Dataset} with the columns "prompt" and "gold", the file of the gold reward.

    Args:
        data: ``prompts.json``, {split: [prompt, ...]}; ``gold.json`` lies beside it.

    Raises:
        TaskError: not given, or not such a file.
    """
    import datasets

    if data is None:
        raise TaskError("task.data: not set; give the prompts.json that benchmarks/rt_polarity.py writes")
    try:
        splits = json.loads(Path(data).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TaskError(f"task.data={data}: {error}") from None
    beside = str(Path(data).with_name("gold.json"))
    return {
        split: datasets.Dataset.from_dict({"prompt": prompts, "gold": [beside] * len(prompts)})
        for split, prompts in splits.items()
    }


def process_results(doc: dict, results: list[str]) -> dict[str, float]:
    """The scores of one response: `gold_reward` (nats) of prompt + response, `length` of the response in characters."""
    text = doc["prompt"] + results[0]
    return {"gold_reward": gold.log_odds(gold.load(doc["gold"]), text), "length": float(len(results[0]))}
