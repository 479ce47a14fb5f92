"""A run's report: what it is asked for, and compiling it where it is not made of what the run holds now."""

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field

from harness.config.schema import Guards, Part
from harness.errors import UserError
from harness.records.made_of import compiled, current_table, forget
from harness.records.run_folder import RunFolder
from reports.guard import Guard


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class ReportSpec(Part):
    runs: Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)] = Field(
        ["runs/embedded"], description="folders of runs; several are compared"
    )
    run: str | None = Field(None, description="folder of one run, in place of runs")
    common: bool = Field(False, description="compare runs with unequal prompts on the prompts that they share")
    metric: str | None = Field(None, description="figure that settings are compared by; null: the first run's own")
    guard: Guards | None = Field(None, description="bounds that a chosen setting keeps; null: the first run's own")
    tax: str | None = Field(None, description="folder of a sweep with task.names: its tax stands beside the gain")
    out: str | None = Field(None, description="where the report goes; null: into the first run's folder")


def write_report(spec: ReportSpec) -> Path:
    """Compile the report of one or several runs and print its table; the page.

    Raises:
        UserError, ReportError: no such run, or runs that cannot be compared.
    """
    from reports.compile import compile_report
    from reports.view.terminal import table

    runs = [Path(run).expanduser() for run in ([spec.run] if spec.run else spec.runs)]
    for run in runs:
        if not run.is_dir():
            raise UserError(f"run={run}: no such run; give the folder that a sweep has written, as runs/NAME")
    out = Path(spec.out).expanduser() if spec.out else runs[0] / "report"
    metric, guards = _select(runs[0])
    guards = guards if spec.guard is None else spec.guard
    tax = Path(spec.tax).expanduser() if spec.tax else None
    forget(out)
    print(table(compile_report(runs, out, common=spec.common, metric=spec.metric or metric, guards=guards, tax=tax)))
    return out / "index.html"


def _select(run: Path) -> tuple[str, list[str]]:
    """The figure by which a run's sweep chose its settings, and the bounds that they kept."""
    config = run / "config.yaml"
    select = yaml.safe_load(config.read_text(encoding="utf-8")).get("select") if config.exists() else None
    select = select or {}
    budget = [str(Guard.of_budget(select["budget"]))] if select.get("budget") else []
    return select.get("metric") or "gold_reward", [*(select.get("guard") or []), *budget]


def compile_run(run: RunFolder) -> None:
    """Compile a run's report where it is not made of what the run holds now, and print its table."""
    from reports.compile import compile_report
    from reports.view.terminal import table

    text = current_table(run)
    if text is None:
        metric, guards = _select(run.path)
        text = table(compile_report([run.path], run.report, metric=metric, guards=guards))
        compiled(run, text)
    print(text)
