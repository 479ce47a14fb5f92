"""What a run's report was made of, by content: no clock says whether it is still that."""

import hashlib
from pathlib import Path

import reports
from harness.records.run_folder import RunFolder, write_text

TABLE = "table.txt"  # what the terminal is shown
NOTE = "made_of.txt"
SOURCES = ("config.yaml", "manifest.json", "trials/*.json", "records/*.jsonl", "scores/*.jsonl", "judgements/*.jsonl")
CODE = (".py", ".j2", ".js", ".css")


def current_table(run: RunFolder) -> str | None:
    """The table of a report that is made of what the run holds now; None where it has to be compiled (again)."""
    try:
        if not (run.report / "index.html").exists() or (run.report / NOTE).read_text(encoding="utf-8") != _digest(run):
            return None
        return (run.report / TABLE).read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def compiled(run: RunFolder, table: str) -> None:
    """Note what the report was made of, once all of it is written."""
    write_text(run.report / TABLE, table)
    write_text(run.report / NOTE, _digest(run))


def forget(report: Path) -> None:
    """Before another report is written over the one in a folder."""
    (report / NOTE).unlink(missing_ok=True)


def _digest(run: RunFolder) -> str:
    code = Path(reports.__file__).parent
    digest = hashlib.sha256()
    for root, files in (
        (run.path, [file for pattern in SOURCES for file in run.path.glob(pattern)]),
        (code, [file for file in code.rglob("*") if file.suffix in CODE]),
    ):
        for file in sorted(files):
            digest.update(f"{file.relative_to(root)}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    return f"sha256:{digest.hexdigest()}\n"
