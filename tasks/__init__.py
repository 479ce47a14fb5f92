"""One folder per task: an lm-eval task YAML, and the Python that makes its prompts and scores its answers.

Adding a task takes one folder, and about 50 lines:

1. `tasks/NAME/NAME.yaml`: an ordinary lm-eval task of `output_type: generate_until`. `NAME_dev.yaml` is the same on
   the dev prompts, on which a sweep chooses its settings; without it, there is no dev split.
2. `tasks/NAME/task.py`, named by `!function task.…` in the YAML: `load(**_)` returns {split: datasets.Dataset},
   each row with the field which `doc_to_text` renders; `process_results(doc, [response])` returns {metric: float},
   each metric listed under `metric_list` with `aggregation: mean`. A hub data set needs `dataset_path` instead of
   `load`.
3. A folder outside this package works as well: lm-eval's `include_path` takes any.

The harness reads nothing else of a task, so `lm_eval --tasks NAME --include_path …` gives the same scores without it.
`tasks/reviews` is the example. No task imports torch.
"""

from pathlib import Path

from .errors import TaskError

__all__ = ["TaskError", "names", "path"]


def names() -> list[str]:
    """The tasks that come with the package: the folders holding a YAML of their own name."""
    return sorted(p.parent.name for p in Path(__file__).parent.glob("*/*.yaml") if p.stem == p.parent.name)


def path(name: str) -> Path:
    """The folder of a task of this package, for lm-eval's `include_path`.

    Raises:
        TaskError: there is no such task.
    """
    if name not in names():
        raise TaskError(
            f"task {name!r} does not come with the package; take one of {', '.join(names())}, or give a folder"
        )
    return Path(__file__).parent / name
