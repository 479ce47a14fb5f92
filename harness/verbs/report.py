"""The verb ``report``: compile runs' records into tables, plots and one page."""

from harness.config.compose import compose
from harness.config.schema import validated
from harness.records.report import ReportSpec, write_report


def main(arguments: list[str]) -> int:
    """``python -m harness report run=runs/A`` or ``runs=[runs/A,runs/B] common=true``"""
    print(f"report: {write_report(validated(ReportSpec, compose('report', arguments).config))}")
    return 0
