"""The prompts of the paper's summarisation task (Liu et al., 2024; Stiennon et al., 2020), called by lm-eval."""

from tasks.hub_rows import rows

HUB = "chadlzx/openai_summarize_comparisons_relabel"
SEED, PROMPTS = 42, 1000


def load(data: str | None = None, **_) -> dict:
    """{"test": datasets.Dataset} with the column "prompt": Reddit posts, shuffled as the authors do, the first 1,000.

    Args:
        data: a local .jsonl or .parquet file with the columns of the hub's, of which "prompt" is read; None: the hub's.

    Raises:
        TaskError: the rows can't be had, or one has no prompt.
    """
    import datasets

    found = datasets.Dataset.from_list(rows(HUB, "test", ("prompt",), data)).shuffle(seed=SEED)
    return {"test": found.select(range(min(PROMPTS, len(found))))}


def process_results(doc: dict, results: list[str]) -> dict[str, float]:
    """What is known of a response before a model scores it: its length in characters."""
    return {"length": float(len(results[0]))}
