"""The prompts of the paper's controlled sentiment task (Liu et al., 2024; Zhou et al., 2024), called by lm-eval."""

from tasks.hub_rows import rows

HUB = "ZHZisZZ/imdb_preference"


def load(data: str | None = None, **_) -> dict:
    """{"test": datasets.Dataset} with the column "prompt": the first words of IMDB reviews.

    Args:
        data: a local .jsonl or .parquet file with the columns of the hub's, of which "prompt" is read; None: the hub's.

    Raises:
        TaskError: the rows can't be had, or one has no prompt.
    """
    import datasets

    return {"test": datasets.Dataset.from_list(rows(HUB, "test", ("prompt",), data))}


def process_results(doc: dict, results: list[str]) -> dict[str, float]:
    """What is known of a response before a model scores it: its length in characters."""
    return {"length": float(len(results[0]))}
