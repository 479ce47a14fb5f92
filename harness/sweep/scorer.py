"""Who scored and who judged, by content. It stands in every row, so that a changed one is noticed and asked again."""

import hashlib
import json
from importlib import metadata
from pathlib import Path

from harness.config.schema import Gold
from harness.config.task_file import TaskFile
from harness.judges.config import JudgeSpec, RewardSpec
from harness.models.pool import Resolver


def scorer(file: TaskFile, gold: Gold, resolver: Resolver) -> str:
    """The task's files, its code among them, and the gold model, where there is one: its revision and its template."""
    model = [] if gold.path is None else [resolver.revision(gold.model_dump(), "task.gold"), gold.template]
    return _hash(file.revision, *model)


def judged_by(spec: JudgeSpec, resolver: Resolver) -> str | None:
    """The judge: a reward model's revision; of a language model the server, the model, the annotator and its prompt.
    None for one that compares scores: these are read again each time."""
    if isinstance(spec, RewardSpec):
        if spec.model is None:
            return None
        return _hash(resolver.revision({"path": spec.model, "revision": spec.revision}, "judge.model"))
    folder = Path(spec.annotator)
    if not folder.is_dir():  # one of AlpacaEval's own
        return _hash(spec.name, spec.base_url, spec.model, spec.annotator, metadata.version("alpaca_eval"))
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    prompts = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return _hash(spec.name, spec.base_url, spec.model, [file.name for file in files], prompts)


def _hash(*parts: object) -> str:
    return f"sha256:{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"
