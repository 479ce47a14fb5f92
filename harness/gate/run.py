"""Holding a run to a recorded baseline, or to what other code decodes with its models."""

import os
from pathlib import Path

from harness.errors import UserError
from harness.gate.baseline import SWITCH, layout, read_baseline
from harness.gate.config import Gate
from harness.gate.figures import run_figures
from harness.gate.metrics import columns, directed, metrics, refuse_unmeasured
from harness.records.run_folder import write_text
from reports.gate.statistics import compare, record
from reports.gate.verdict import junit, markdown, same_models_junit, same_models_markdown
from reports.run import load_run


def hold(spec: Gate, recording: bool = False) -> int:
    """Compare a run with the baseline, print the verdict and write it as JUnit XML; the exit code.

    Args:
        recording: write the baseline instead.

    Returns:
        0 pass, 1 regression, 4 inconclusive; with ``against`` also 5 changed.

    Raises:
        UserError, ReportError: an incomplete run, a damaged baseline, different prompts, judges or tasks, a figure that
            the baseline has and the run lacks (exit code 2).
    """
    path, file = Path(spec.run).expanduser(), Path(spec.baseline).expanduser()
    if spec.against is not None:
        if recording:
            raise UserError(f"against={spec.against}: nothing is recorded of a comparison; leave out {SWITCH}")
        return _against(path, spec.against, spec)
    loaded = load_run(path)
    held = directed(spec.metrics, loaded.directions)
    figures, revisions = run_figures(loaded, spec.split)
    run = record(figures, revisions)  # compared as it would be recorded: what is identical differs by exactly 0
    if recording:
        _write(file, layout(run) + "\n")
        size = f"{len(run['settings'])} settings, {len(run['prompts'])} prompts"
        print(f"recorded {file}: {size}, {file.stat().st_size / 1000:.0f} kB")
        return 0
    baseline = read_baseline(file)
    for side, found in (("run", run), ("baseline", baseline)):
        refuse_unmeasured(side, found, held)
    result = compare(columns(run, held), columns(baseline, held), metrics(held))
    text = markdown(result) + "\n" + _models(revisions, baseline["hashes"]) + "\n"
    print(text)
    _write(Path(spec.junit).expanduser() if spec.junit else path / "gate.xml", junit(result))
    _summarize(text)
    return result.exit_code


def _against(path: Path, against: str, spec: Gate) -> int:
    """Hold a run to what other code decodes with its models, or to another run of them."""
    from harness.gate.same_models import compared

    result, told = compared(path, against, spec)
    if result is None:
        text = f"## Same models: not compared\n\nThere is {told}; the recorded baseline is what is left.\n"
        print(text)
        _summarize(text)
        return 0
    text = same_models_markdown(result, told)
    print(text)
    _write(Path(spec.junit).expanduser() if spec.junit else path / "same_models.xml", same_models_junit(result))
    _summarize(text)
    return result.exit_code


def _models(run: dict[str, str], baseline: dict[str, str]) -> str:
    """Whether the models are the baseline's: where they are not, the responses need not be either."""
    differ = sorted(place for place, revision in baseline.items() if run.get(place) != revision)
    if not differ:
        return "The models are the baseline's, by content."
    more = f" and {len(differ) - 3} more" if len(differ) > 3 else ""
    return f"Not the baseline's models, by content: {', '.join(f'`{place}`' for place in differ[:3])}{more}."


def _summarize(text: str) -> None:
    """Append to the summary of a GitHub job, where there is one."""
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if not summary:
        return
    try:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as error:
        raise UserError(
            f"GITHUB_STEP_SUMMARY={summary}: cannot be written ({error.strerror}); mend it or unset it"
        ) from None


def _write(file: Path, text: str) -> None:
    try:
        write_text(file, text)
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror}); give another path") from None
