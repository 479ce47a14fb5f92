"""Runs in, a report out: index.html, summary.csv, summary.json and summary.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reports import summary
from reports.answer import Answer, answer
from reports.compare import Change, changes, combine
from reports.errors import ReportError
from reports.gain_and_tax import gain_and_tax, read_tax
from reports.guard import Guard
from reports.run import load_run
from reports.table import Progress, Row, build
from reports.view.page import pages
from reports.whole_file import replace


@dataclass(frozen=True)
class Report:
    """A compiled report.

    Attributes:
        rows: one per setting and split; the reported split first, the base first in each.
        answer: what was asked and found.
        changes: later runs against the first, where several were given.
        files: what was written, the page first.
    """

    rows: list[Row]
    answer: Answer
    changes: list[Change]
    files: list[Path]

    def summary(self) -> list[dict]:
        """The content of summary.json."""
        return summary.rows(self.rows)


def compile_report(
    run_dirs: list[Path],
    out: Path,
    *,
    common: bool = False,
    metric: str = "gold_reward",
    guards: Sequence[str] = (),
    resamples: int = 1000,
    progress: Progress | None = None,
    tax: Path | None = None,
) -> Report:
    """Compile the runs' records into a report in the folder `out`.

    Args:
        run_dirs: one run's folder, or several to compare on the same prompts.
        out: made if it does not exist; each file is replaced whole.
        common: compare only the prompts that all runs have, instead of refusing.
        metric: the figure that settings are chosen and compared by.
        guards: bounds that a setting keeps on the prompts that choose, as "fluency>=0.8"; others are not chosen.
        resamples: of the bootstrap, shared by every figure.
        progress: called with (done, total, what) as the rows are estimated.
        tax: the folder of a sweep with ``task.names``, whose alignment tax stands beside the gain.

    Raises:
        ReportError: no such run, nothing recorded, damaged files, unequal prompts, an unwritable folder.
    """
    if not run_dirs:
        raise ReportError("report: no run given; name one, for example run=runs/NAME")
    run = combine([load_run(path) for path in run_dirs], common)
    table = build(run, progress, resamples)
    found = answer(table, metric, [Guard.parse(text) for text in guards])
    between = changes(table, [found.metric], found.reported_on) if len(run_dirs) > 1 else []
    beside = None if tax is None else gain_and_tax(table, found, read_tax(Path(tax)))
    texts = pages(table, found, between, beside) | {
        "summary.csv": summary.as_csv(table.rows),
        "summary.json": summary.as_json(table.rows),
        "summary.md": summary.as_markdown(found, between, beside),
    }
    # the page last: who sees a new page finds its tables beside it
    written = {name: _write(Path(out) / name, texts[name]) for name in reversed(texts)}
    return Report(table.rows, found, between, [written[name] for name in texts])


def _write(path: Path, text: str) -> Path:
    """Replace the file in one step, so that a reader never sees half a report."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, text.encode("utf-8", "replace"))
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}; free the disk or choose another folder for the report") from None
    return path
