"""The verb ``sweep``: every setting on the dev prompts, the best of each method on the test prompts, one report."""

import os

from harness.config.question import refuse_another
from harness.errors import UserError
from harness.models.pool import Resolver
from harness.records.manifest import Manifest
from harness.records.run_folder import RunFolder
from harness.sweep.estimate import dry_run
from harness.sweep.judging import Judging
from harness.sweep.plan import Plan
from harness.sweep.run import run_sweep, shown_word
from harness.sweep.tax import run_tax
from harness.trials.composed import composed_sweep


def main(arguments: list[str]) -> int:
    """``python -m harness sweep [--dry-run] [key=value ...]``"""
    os.environ.setdefault("TQDM_DISABLE", "1")  # other packages' bars; the sweep has its own
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    dry = "--dry-run" in arguments
    overrides = [argument for argument in arguments if argument != "--dry-run"]
    composed = composed_sweep(overrides)
    sweep, settings = composed.sweep, composed.settings
    judging = Judging(sweep.judge, sweep.select.metric or "gold_reward") if sweep.judge else None
    run = RunFolder(sweep.run_dir)
    if sweep.task.names and sweep.backend.name != "serial":
        raise UserError(
            f"backend={sweep.backend.name}: lm-eval's own tasks (task.names) run in this process; leave it out"
        )
    if dry and sweep.task.names:
        print(f"{len(settings)} settings, each on {', '.join(sweep.task.names)}; a setting that is done is read back")
        return 0
    if dry:
        plan = Plan(sweep, settings, Resolver(build=False), run, Manifest(run.path / "manifest.json"))
        print(dry_run(plan))
        return 0
    run.open()
    try:
        refuse_another(run.path, sweep.model_dump())
        if sweep.task.names:
            command = ["python", "-m", "harness", "sweep", *map(shown_word, arguments)]
            return run_tax(sweep, settings, run, command)
        return run_sweep(composed, judging, run, arguments)
    finally:
        run.close()
