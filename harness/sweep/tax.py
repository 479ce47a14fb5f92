"""The alignment tax of a sweep with ``task.names``: a table in the terminal and in the run's folder."""

import json
from collections.abc import Sequence

from harness.config.schema import Sweep
from harness.models.pool import Pool, Resolver
from harness.records.manifest import Manifest
from harness.records.run_folder import RunFolder, write_text
from harness.trials.trial import BASE, Setting


def run_tax(sweep: Sweep, settings: list[Setting], run: RunFolder, command: Sequence[str]) -> int:
    """Evaluate every setting on every task, and write ``report/tax.json`` and ``report/tax.md``."""
    from harness.adapters.lm_eval_tax import Tax
    from reports import tax

    files = Tax(sweep, settings, Pool(Resolver(), sweep.device), run.path / "tax").run(sweep.task.n_test)
    found = [tax.read(path) for path in files]
    base = next(scores for scores in found if scores.method == BASE)
    rows = tax.compare(base, [scores for scores in found if scores is not base])
    manifest = Manifest(run.path / "manifest.json")
    manifest.record_run(list(command), sweep.device, {})
    manifest.write()
    write_text(run.report / "tax.json", json.dumps(rows, indent=2, allow_nan=False) + "\n")
    write_text(run.report / "tax.md", tax.markdown(rows) + "\n")
    print(tax.markdown(rows))
    print(f"report: {run.report / 'tax.md'}")
    return 0
