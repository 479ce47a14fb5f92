"""The verb ``gate``: has a run lost quality against a recorded baseline?"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.compose import compose
from harness.config import Part, validated
from harness.errors import UserError
from harness.gate_figures import run_figures
from harness.nearest import nearest
from harness.options import show_options
from harness.run_folder import write_text
from reports.direction import Directions
from reports.gate import Metric, compare, record
from reports.run import load_run
from reports.verdict import junit, markdown

SWITCH = "--record"


class Held(Part):
    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0.0, description="loss that is accepted, in the metric's unit"
    )
    direction: Literal["higher", "lower", "same"] | None = Field(
        None,
        description="which way is better; same: neither, it must not move by more than the tolerance; null: the task's",
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


class Baseline(Part):
    """What ``reports.gate.record`` writes, held to its shape when it is read back."""

    format: Literal[1]
    task: str
    judge: str
    hashes: dict[str, str]
    prompts: list[str]
    settings: dict[str, dict[str, list[float | None]]]


def main(arguments: list[str]) -> int:
    """``python -m harness gate [--record] run=runs/NAME baseline=FILE``: 0 pass, 1 regression, 4 inconclusive.

    Raises:
        UserError, ReportError: an incomplete run, a damaged baseline, different prompts, judges or tasks (exit code 2).
    """
    if {"-h", "--help"} & set(arguments):
        show_options("gate", Gate, {SWITCH: "write the baseline instead of comparing with it"})
        return 0
    recording = SWITCH in arguments
    spec = validated(Gate, compose("gate", [word for word in arguments if word != SWITCH]).config)
    path, file = Path(spec.run).expanduser(), Path(spec.baseline).expanduser()
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
        _refuse_unmeasured(side, found, held)
    metrics = [row for _, rows in _rows(held) for row in rows]
    result = compare(_columns(run, held), _columns(baseline, held), metrics)
    text = markdown(result) + "\n" + _models(revisions, baseline["hashes"]) + "\n"
    print(text)
    _write(Path(spec.junit).expanduser() if spec.junit else path / "gate.xml", junit(result))
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


def directed(held: dict[str, Held], directions: Directions) -> dict[str, Held]:
    """What is held, each in its own direction or else the task's; what is better neither way must stay the same."""
    own = {name: rule.direction or directions.of(name) or "same" for name, rule in held.items()}
    return {name: rule.model_copy(update={"direction": own[name]}) for name, rule in held.items()}


def _rows(held: dict[str, Held]) -> Iterator[tuple[str, list[Metric]]]:
    """The rows of the gate by the figure they hold: one each, but two for what may move neither way."""
    for name, rule in held.items():
        both = {f"{name} not lower": "higher", f"{name} not higher": "lower"}
        directions = both if rule.direction == "same" else {name: rule.direction or "higher"}
        yield name, [Metric(row, rule.tolerance, direction) for row, direction in directions.items()]


def _columns(side: dict, held: dict[str, Held]) -> dict:
    """A run's or a baseline's figures, under the names of the gate's rows."""
    settings = {
        setting: {row.name: found[name] for name, rows in _rows(held) if name in found for row in rows}
        for setting, found in side["settings"].items()
    }
    return {**side, "settings": settings}


def _refuse_unmeasured(side: str, figures: dict, held: dict[str, Held]) -> None:
    for setting, found in figures["settings"].items():
        for name in held:
            if name not in found:
                raise UserError(f"metrics.{name}: {setting!r} of the {side} has no such figure; {nearest(name, found)}")


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
