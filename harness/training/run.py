"""A training from its rows to its models: read, trained, measured, summed up."""

import json
import os
import time
import warnings
from pathlib import Path

from harness.errors import UserError
from harness.models.device import checked
from harness.progress import duration
from harness.records.manifest import versions
from harness.records.run_folder import write_text
from harness.training import data
from harness.training.config import Train
from harness.training.session import Session

WHAT = {
    "sft": "a language model",
    "dpo": "the tuned model, of which base is the untuned one",
    "reward": "a reward model",
    "fudge": "a value model",
    "pair": "untuned and tuned",
    "all": "untuned, tuned and value",
}
USE = {
    "dpo": "guider=eft guider.token.tuned={out} guider.token.untuned={base}",
    "reward": "judge=reward judge.model={out}",
    "fudge": "guider=ivg guider.value.model={out}",
    "pair": "guider=eft guider.token.tuned={out}/tuned guider.token.untuned={out}/untuned",
}
USE["all"] = USE["pair"].replace("eft", "ivg") + " guider.value.model={out}/value"


def train_models(spec: Train) -> None:
    """Train what is not finished, write ``OUT/training/summary.json`` and say how the models are used.

    Raises:
        UserError, GuiderError: bad rows, a model that does not load, a folder that holds another training.
    """
    if spec.out is None:
        raise UserError("out: not set; give out=FOLDER for the trained model")
    _quiet()
    checked(spec.device)
    from harness.training.pipeline import Pipeline, columns
    from harness.training.stages import Trainer

    rows = data.read(spec.data, columns(spec))
    out = Path(spec.out).expanduser()
    session = Session(out, _settings(spec, rows))
    try:
        began = time.perf_counter()
        with session.log:
            trainer = Trainer(spec, session)
            figures = Pipeline(trainer, rows, lambda line: print(line, flush=True)).run()
        _summary(session, spec, rows, figures)
    finally:
        session.close()
    seconds = duration(time.perf_counter() - began)
    name = spec.train.name
    if name in USE:
        print("use it: " + USE[name].format(out=out, base=spec.base.path))
    print(f"{out}: {WHAT[name]}, in {seconds}; held out: " + "; ".join(_line(*item) for item in figures.items()))


def _quiet() -> None:
    """The libraries' own bars and warnings would drown ours."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message=r".*fan_in_fan_out|Could not find a config file", category=UserWarning)
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _settings(spec: Train, rows: list[dict]) -> dict:
    """What decides the weights: the settings but for place and device, and the rows."""
    kept = spec.model_dump(exclude={"out", "device", "checkpoint_every"})
    kept["data"].pop("path")
    return {**kept, "rows": len(rows), "sha256": data.sha256(rows)}


def _summary(session: Session, spec: Train, rows: list[dict], figures: dict) -> None:
    values = {
        "what": WHAT[spec.train.name],
        "settings": session.settings,
        "data": {"path": spec.data.path, "rows": len(rows)},
        "packages": versions(),
        "held_out": figures,
    }
    write_text(session.folder / "summary.json", json.dumps(values, indent=2, sort_keys=True) + "\n")


def _line(stage: str, figures: dict) -> str:
    """A stage's figures in words."""
    if "loss" in figures:
        return f"{stage} {figures['loss']:.3f} nats a token (perplexity {figures['perplexity']:.1f})"
    if "accuracy" in figures:
        text = f"{stage} prefers the chosen response {figures['accuracy']:.1%}, by {figures['margin']:.3f} on average"
        if "bytes_shared" in figures:
            text += f", both models in {figures['bytes_shared']:,} bytes instead of {figures['bytes_two_models']:,}"
        return text
    if not figures:
        return f"{stage} not measured, as all held-out rewards are alike"
    shown = [
        f"{name} " + " ".join(f"{value:.3f}" for value in figures[key].values())
        for key, name in (("r2", "R²"), ("pairwise", "pairwise accuracy"))
    ]
    return f"{stage} at 25, 50, 75, 100% of the response: " + ", ".join(shown)
