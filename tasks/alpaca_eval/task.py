"""The functions that alpaca_eval.yaml names, called by lm-eval."""

from tasks.alpaca_eval.data import instructions


def load(data: str | None = None, **_: object):
    """The splits of the task, for lm-eval's ``custom_dataset``: a text ``instruction`` a row, in AlpacaEval's order.

    Args:
        data: a local file with the instructions; None for the hub's. lm-eval hands it over from ``metadata``.
    """
    import datasets

    texts = [row["instruction"] for row in instructions(data)]
    return {"test": datasets.Dataset.from_dict({"instruction": texts})}


def process_results(doc: dict, results: list[str]) -> dict[str, float]:
    """What is known of a response before it is judged: its length in characters, and whether it is empty."""
    response = results[0]
    return {"length": float(len(response)), "empty": float(not response.strip())}
