"""The verb ``report``: compile runs' records into tables, plots and one page."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from harness.compose import compose
from harness.config import Part, validated
from harness.errors import UserError
from harness.options import show_options
from harness.run_folder import RunFolder


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class Report(Part):
    runs: Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)] = Field(
        ["runs/embedded"], description="folders of runs; several are compared"
    )
    out: str | None = Field(None, description="where the report goes; null: into the first run's folder")


def main(arguments: list[str]) -> int:
    """``python -m harness report runs=[runs/A,runs/B] out=PATH``"""
    if {"-h", "--help"} & set(arguments):
        show_options("report", Report, {})
        return 0
    spec = validated(Report, compose("report", arguments).config)
    runs = [Path(run).expanduser() for run in spec.runs]
    for run in runs:
        if not run.is_dir():
            raise UserError(f"runs={run}: no such run; give the folder that a sweep has written, as runs/NAME")
    out = Path(spec.out).expanduser() if spec.out else runs[0] / "report"
    from reports.compile import compile_report
    from reports.terminal import table

    print(table(compile_report(runs, out)))
    print(f"report: {out / 'index.html'}")
    return 0


def compile_run(run: RunFolder) -> None:
    """Compile a run's report where it is older than what it is made of, and print its table."""
    from reports.compile import compile_report
    from reports.terminal import table

    if run.report_is_fresh():
        print((run.report / "table.txt").read_text(encoding="utf-8"), end="")
        return
    text = table(compile_report([run.path], run.report))
    print(text)
