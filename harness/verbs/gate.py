"""The verb ``gate``: whether a run lost quality against a recorded baseline, or against other code on its models."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.config.compose import compose
from harness.config.help import show_options
from harness.config.schema import Part, validated
from harness.errors import UserError
from harness.gate.figures import run_figures
from harness.gate.metrics import Held, columns, directed, metrics, refuse_unmeasured
from harness.records.run_folder import write_text
from reports.gate.statistics import compare, record
from reports.gate.verdict import junit, markdown, same_models_junit, same_models_markdown
from reports.run import load_run

SWITCH = "--record"


class SameModelsSpec(Part):
    share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.05, description="of a setting's records, how many may differ by more than rounding"
    )
    metrics: Annotated[dict[str, Held], Field(min_length=1)] = Field(
        {}, description="what is held where records differ: METRIC: {tolerance, direction}"
    )


class Gate(Part):
    run: str = Field("runs/gate", description="folder of the run to judge")
    baseline: str = Field("baselines/embedded.json", description="file that gate --record wrote")
    split: Literal["dev", "test", "all"] | None = Field(
        None, description="prompts to compare on; null: those that the report reports"
    )
    junit: str | None = Field(None, description="JUnit XML for CI; null: gate.xml in the run's folder")
    metrics: Annotated[dict[str, Held], Field(min_length=1)] = Field(
        {}, description="what is held: METRIC: {tolerance, direction}"
    )
    against: str | None = Field(
        None,
        description="instead of the baseline: merge-base, a commit or a folder of code, which decodes the same models, "
        "or the folder of another run of them",
    )
    accepted: str | None = Field(
        None, description="file of the differences that are meant; null: what baselines/accepted.yaml adds"
    )
    same_models: SameModelsSpec = Field(SameModelsSpec(), description="how little may differ on the same models")


class Baseline(Part):
    """What ``reports.gate.statistics.record`` writes, held to its shape when it is read back."""

    format: Literal[2]
    task: str
    judge: str
    seeds: list[int]
    hashes: dict[str, str]
    prompts: list[str]
    settings: dict[str, dict[str, list[float | None]]]


def main(arguments: list[str]) -> int:
    """``python -m harness gate [--record] run=runs/NAME baseline=FILE``: 0 pass, 1 regression, 4 inconclusive;
    ``against=COMMIT``: also 5 changed.

    Raises:
        UserError, ReportError: an incomplete run, a damaged baseline, different prompts, judges or tasks, a figure that
            the baseline has and the run lacks (exit code 2).
    """
    if {"-h", "--help"} & set(arguments):
        show_options("gate", Gate, {SWITCH: "write the baseline instead of comparing with it"})
        return 0
    recording = SWITCH in arguments
    spec = validated(Gate, compose("gate", [word for word in arguments if word != SWITCH]).config)
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


def read_baseline(file: Path) -> dict:
    """A recorded baseline.

    Raises:
        UserError: no such file, or not what ``gate --record`` writes.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        mend = f"record one: python -m harness gate {SWITCH} run=runs/NAME baseline={file}"
        raise UserError(f"baseline={file}: cannot be read ({error.strerror}); {mend}") from None
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise UserError(f"baseline={file}: not a JSON object; record it again with gate {SWITCH}")
    try:
        return validated(Baseline, values).model_dump()
    except UserError as error:
        told = str(error).partition(";")[0][:200]
        raise UserError(f"baseline={file}: {told}; record it again with gate {SWITCH}") from None


def layout(value: Any, depth: int = 0) -> str:
    """JSON with one line per metric, so that a diff of two baselines can be read."""
    if not isinstance(value, dict) or not value:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    indent = " " * (depth + 1)
    lines = [f"{indent}{json.dumps(key, ensure_ascii=False)}: {layout(item, depth + 1)}" for key, item in value.items()]
    return "{\n" + ",\n".join(lines) + "\n" + " " * depth + "}"


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
