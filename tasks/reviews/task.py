"""What the task YAMLs call: the prompts as data sets, and the scores of a response.

lm-eval imports this file by its path, not as part of a package, and so it finds its siblings for itself: they need
not be installed for `lm_eval --include_path …` to work. It also takes the path for the module's name: a dot in it, as
in `python3.11`, makes the folder before the dot look like a package.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

N_PROMPTS = {"test": 128, "dev": 64}
SEED = 0
ROOT = "reviews_task_package"


def _sibling(name: str) -> ModuleType:
    """A module of this folder, from the package it belongs to or, if imported by path, from that package by path."""
    if __package__ in sys.modules:
        return importlib.import_module(f".{name}", __package__)
    folder = Path(__file__).resolve().parent
    if ROOT not in sys.modules:
        where = folder.parent / "__init__.py"
        spec = importlib.util.spec_from_file_location(ROOT, where, submodule_search_locations=[str(folder.parent)])
        assert spec is not None
        assert spec.loader is not None
        sys.modules[ROOT] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[ROOT])
    return importlib.import_module(f"{ROOT}.{folder.name}.{name}")


def load(**_: object) -> dict:
    """The fixed dev and test prompts, as {split: datasets.Dataset} with the column "prompt".

    lm-eval passes the task's metadata and its model arguments; none of them changes the prompts.
    """
    import datasets

    data = _sibling("data")
    return {
        split: datasets.Dataset.from_dict({"prompt": data.prompts(split, n, SEED)}) for split, n in N_PROMPTS.items()
    }


def process_results(doc: dict, results: list[str]) -> dict[str, float]:
    """The scores of one response: `gold_reward` (nats) and `fluency` of prompt + response, `length` of the response in
    characters."""
    gold = _sibling("gold")
    text = doc["prompt"] + results[0]
    return {"gold_reward": gold.gold_reward(text), "fluency": gold.fluency(text), "length": float(len(results[0]))}
