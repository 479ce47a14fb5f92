"""A file of outputs compared with a reference: judged, recorded, and told as the leaderboard's row."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from pydantic import Field

from harness.config.compose import compose
from harness.config.schema import Part, validated
from harness.errors import UserError
from harness.judges.answers import redact
from harness.judges.config import JudgeSpec, build_judge, judge_spec
from harness.judges.outputs import paired, read_outputs
from harness.records.judgement import TOO_MANY_MISSING, Judgement, Pair, too_many_missing
from harness.records.rows import as_text
from harness.records.run_folder import RunFolder, write_text

NAMED = 20  # missing judgements that are named on the terminal; the summary names all


class JudgeRun(Part):
    """See ``conf/judge.yaml``."""

    task: dict[str, Any]
    judge: dict[str, Any]
    outputs: str = Field(description="the model's outputs")
    reference: str | None
    run: str = Field(description="folder of answers, judgements and summary")


def judge_run(overrides: list[str]) -> JudgeRun:
    """The checked configuration of ``python -m harness judge``.

    Raises:
        UserError: a wrong or missing value.
    """
    config = {name: value for name, value in compose("judge", overrides).config.items() if value is not None}
    for name in ("outputs", "run"):
        if name not in config:
            raise UserError(f"{name}: not set; give {name}=PATH")
    return validated(JudgeRun, {"reference": None, **config})


def judge_outputs(config: JudgeRun, overrides: list[str]) -> int:
    """Judge, print the leaderboard's row, write ``RUN/summary.json``; the exit code.

    Args:
        overrides: of the command line, for the manifest.

    Returns:
        0, or 3 where more judgements are missing than ``judge.max_missing``.

    Raises:
        UserError, TaskError: bad input; what was answered before is stored.
    """
    spec = judge_spec(config.judge)
    task = config.task.get("name")
    pairs, generator, baseline = _pairs(config, task)
    judge = build_judge(spec, task)
    run = RunFolder(config.run)
    run.open()
    try:
        judgements = judge.judge(pairs, baseline, run.path)
        row = _record(run, generator, pairs, judgements, config, overrides, spec)
    finally:
        run.close()
    return _tell(row, len(pairs), spec.max_missing, run.path)


def _pairs(config: JudgeRun, task: str | None) -> tuple[list[Pair], str, str]:
    """The pairs, the generator's name and the baseline's."""
    if task != "alpaca_eval":
        if config.reference is None:
            raise UserError(f"reference: not set, and task={task} has none of its own; give reference=PATH")
        outputs, reference = read_outputs(config.outputs), read_outputs(config.reference)
        return paired(outputs, reference), outputs.generator, reference.generator
    from tasks.alpaca_eval.data import difference, in_order, reference_file

    if not Path(config.outputs).is_file():  # said before the hub is asked for the reference
        raise UserError(f"outputs={config.outputs}: no such file; give the model's outputs")
    reference = read_outputs(config.reference or reference_file())
    order = in_order(reference.by_instruction)
    outputs = read_outputs(config.outputs, order)
    differs = difference(list(outputs.by_instruction))
    if differs.unknown:
        raise UserError(f"{config.outputs}: {differs}; take the outputs of AlpacaEval's instructions")
    pairs = paired(outputs, reference, order)
    if len(pairs) < len(order):
        print(f"{config.outputs}: {differs}; judging the {len(pairs)} that are there")
    return pairs, outputs.generator, reference.generator


def trial_name(generator: str) -> str:
    """A generator's name as a file's name: what is not a letter, a digit, a dot, a dash or _ becomes _."""
    return re.sub(r"[^\w.-]|^\.+", "_", generator, flags=re.ASCII) or "outputs"


def _record(
    run: RunFolder,
    generator: str,
    pairs: list[Pair],
    judgements: list[Judgement],
    config: JudgeRun,
    overrides: list[str],
    spec: JudgeSpec,
) -> dict:
    """Write the outputs, the judgements, the summary and the manifest; the leaderboard's row."""
    from harness.judges.leaderboard import leaderboard_row
    from harness.records.manifest import Manifest
    from reports.length_control import calibration_of

    trial = trial_name(generator)
    records = run.path / "records" / f"{trial}.jsonl"
    if not (records.exists() and records.samefile(config.outputs)):  # a sweep's own records are left alone
        rows = [
            {"key": pair.key, "index": pair.index, "prompt": pair.instruction, "response": pair.response}
            for pair in pairs
        ]
        write_text(records, as_text(records, rows))
    # A sweep's own judgements compare with its base, these with the reference: they lie beside each other.
    swept = (run.path / "trials" / f"{trial}.json").exists()
    name = f"{trial}.{trial_name(judgements[0].baseline)}" if swept else trial
    file = run.path / "judgements" / f"{name}.jsonl"
    write_text(file, as_text(file, (judgement.row() for judgement in judgements)))
    known = config.task.get("name") == "alpaca_eval"
    calibration = calibration_of([judgements[0].judge], [judgements[0].baseline]) if known else None
    row = leaderboard_row(generator, pairs, judgements, calibration)
    write_text(run.path / "summary.json", json.dumps(row, indent=2, sort_keys=True, allow_nan=False) + "\n")
    manifest = Manifest(run.path / ("manifest.judge.json" if swept else "manifest.json"))
    secret = os.environ.get(getattr(spec, "key_env", ""))
    judged_by = {"judge": {name: getattr(spec, name, None) for name in ("model", "base_url", "annotator")}}
    manifest.record_run(redact(["judge", *overrides], secret), "cpu", redact(judged_by, secret))
    manifest.write()
    return row


def _tell(row: dict, pairs: int, max_missing: float, folder: Path) -> int:
    from harness.judges.leaderboard import table

    print(table(row))
    if "lc_note" in row:
        print(f"no length-controlled win rate: {row['lc_note']}")
    elif not row["lc_difficulty"]:
        print("length control without difficulties: the published ones hold for AlpacaEval 2's judge and baseline")
    print(f"written: {folder / 'summary.json'}")
    for missing in row["missing"][:NAMED]:
        print(f"missing: instruction {missing['index']} ({missing['key']}): {missing['reason']}", file=sys.stderr)
    if len(row["missing"]) > NAMED:
        print(f"missing: {len(row['missing']) - NAMED} more, all named in summary.json", file=sys.stderr)
    if line := too_many_missing(row["n_missing"], pairs, max_missing):
        print(line, file=sys.stderr)
        return TOO_MANY_MISSING
    return 0
