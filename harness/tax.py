"""The alignment tax of a sweep with ``task.names``: a table in the terminal and in the run's folder."""

import json
from collections.abc import Sequence

from harness.config import Sweep
from harness.manifest import Manifest
from harness.models import Pool, Resolver
from harness.run_folder import RunFolder, write_text
from harness.trials import Setting


def run_tax(sweep: Sweep, settings: list[Setting], run: RunFolder, command: Sequence[str]) -> int:
    """Evaluate every setting on every task, and write ``report/tax.json`` and ``report/tax.md``."""
    from harness.adapters.lm_eval_tax import Tax

    resolver = Resolver()
    rows = Tax(sweep, settings, Pool(resolver, sweep.device), run.path / "tax").run(sweep.task.n_test)
    manifest = Manifest(run.path / "manifest.json")
    manifest.record_run(list(command), sweep.device, {})
    manifest.write()
    write_text(run.report / "tax.json", json.dumps(rows, indent=2) + "\n")
    write_text(run.report / "tax.md", table(rows) + "\n")
    print(table(rows))
    print(f"report: {run.report / 'tax.md'}")
    return 0


def table(rows: list[dict]) -> str:
    """Guided against unguided, a line for each task, metric and setting."""
    lines = [
        "| task | metric | setting | n | unguided | guided | difference [95%] |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        settings = ", ".join(f"{name} {value:g}" for name, value in row["settings"].items())
        interval = "" if row["low"] is None else f" [{row['low']:+.3f}, {row['high']:+.3f}]"
        lines.append(
            f"| {row['task']} | {row['metric']} | {row['method']} {settings} | {row['n']} | {row['unguided']:.3f} "
            f"| {row['guided']:.3f} | {row['difference']:+.3f}{interval} |"
        )
    return "\n".join(lines)
