"""A trial's results and samples in the form of lm-eval's output files."""

import hashlib
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from importlib import metadata

from harness.errors import UserError


def results(name: str, trial: Mapping, samples: Sequence[Mapping]) -> dict:
    """What lm-eval writes to ``results_DATE.json``: means, standard errors (n - 1), counts, and what was run.

    Raises:
        UserError: no samples, or no scores.
    """
    task = trial["task"]
    if not samples or not samples[0]["metrics"]:
        raise UserError(f"trial {trial['id']} has no scores; finish it with `python -m harness sweep` first")
    figures: dict = {"alias": task}
    for metric in samples[0]["metrics"]:
        values = [sample[metric] for sample in samples]
        figures[f"{metric},none"] = statistics.fmean(values)
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else "N/A"
        figures[f"{metric}_stderr,none"] = error
    arguments = {key: trial[key] for key in ("method", "settings", "guider", "sampling", "seed") if key in trial}
    return {
        "results": {task: figures},
        "configs": {task: {"task": task, "output_type": "generate_until"}},
        "n-shot": {task: (trial.get("prompting") or {}).get("num_fewshot") or 0},
        "n-samples": {task: {"original": len(samples), "effective": len(samples)}},
        "config": {"model": "ivg", "model_args": arguments, "model_revisions": trial.get("revisions", {})},
        "lm_eval_version": metadata.version("lm_eval"),
        "model_name": name,
        "model_source": "ivg",
    }


def samples(records: Sequence[Mapping], scores: Mapping[str, Mapping[str, float]]) -> list[dict]:
    """The rows of ``samples_TASK_DATE.jsonl``, one for each record that has scores, in the task's order."""
    rows = []
    for record in sorted(records, key=lambda record: record["index"]):
        if record["key"] not in scores:
            continue
        metrics = scores[record["key"]]
        doc = {"prompt": record["prompt"]}
        rows.append(
            {
                "doc_id": record["index"],
                "doc": doc,
                "target": "",
                "arguments": {"gen_args_0": {"arg_0": record["prompt"]}},
                "resps": [[record["response"]]],
                "filtered_resps": [record["response"]],
                "filter": "none",
                "metrics": list(metrics),
                "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
                "prompt_hash": _hash(record["prompt"]),
                "target_hash": _hash(""),
                **metrics,
            }
        )
    return rows


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
