"""Files of outputs: AlpacaEval's JSON lists, and the records of a run's trial."""

from dataclasses import dataclass
from pathlib import Path

from harness.errors import UserError
from harness.records.judgement import Pair
from harness.records.lines import Lines
from harness.records.run_folder import RunFolder
from tasks.alpaca_eval.data import read_rows


@dataclass(frozen=True)
class Outputs:
    """One generator's outputs: instruction -> output, in the file's order."""

    generator: str
    by_instruction: dict[str, str]


def read_outputs(path: str | Path, instructions: list[str] | None = None) -> Outputs:
    """The outputs in a file: a JSON list (``.json``, ``.json.gz``) or a trial's records (``.jsonl``).

    Args:
        instructions: the task's instructions, needed for records: their prompts may have gone through a chat template,
            so a record is matched by its place.

    Raises:
        TaskError, UserError: the file can't be read, names several generators, or a record's prompt does not hold its
            instruction.
    """
    path = Path(path)
    if path.suffix == ".jsonl":
        return Outputs(path.stem, _from_records(path, instructions))
    rows = read_rows(path, "output")
    names = sorted({str(row.get("generator") or path.name.split(".json")[0]) for row in rows})
    if len(names) > 1:
        raise UserError(f"{path}: outputs of {len(names)} generators ({', '.join(map(ascii, names[:3]))}); keep one")
    return Outputs(names[0], {row["instruction"]: row["output"] for row in rows})


def _from_records(path: Path, instructions: list[str] | None) -> dict[str, str]:
    if not path.is_file():
        raise UserError(f"{path}: no such records; give runs/NAME/records/TRIAL.jsonl or a JSON list of outputs")
    found: dict[str, str] = {}
    # a copy elsewhere is a file of the user's own, which no checksum holds
    for row in _rows(path) if path.parent.name == "records" else Lines(path):
        prompt, index = str(row.get("prompt", "")), row.get("index")
        instruction = prompt
        if instructions is not None:
            if not isinstance(index, int) or not 0 <= index < len(instructions):
                raise UserError(
                    f"{path}: a record with index {index}, of {len(instructions)} instructions; check the task"
                )
            instruction = instructions[index]
        if instruction not in prompt:
            raise UserError(
                f"{path}: record {index} has another prompt than the task's instruction {index}; check the task"
            )
        found.setdefault(instruction, row["response"])
    return found


def _rows(path: Path) -> list[dict]:
    folder = RunFolder(path.parents[1])
    return list(folder.rows(folder.records(path.stem)).values())


def paired(outputs: Outputs, reference: Outputs, order: list[str] | None = None) -> list[Pair]:
    """The pairs with the same instruction, in ``order`` (else the reference's), with their places in it.

    Raises:
        UserError: an output whose instruction the reference does not have.
    """
    stray = [place for place, text in enumerate(outputs.by_instruction) if text not in reference.by_instruction]
    if stray:
        raise UserError(
            f"outputs: {len(stray)} of {len(outputs.by_instruction)} instructions are not in the reference "
            f"(the first is row {stray[0]}); take the reference of the same task"
        )
    return [
        Pair(text, reference.by_instruction[text], outputs.by_instruction[text], index)
        for index, text in enumerate(order or reference.by_instruction)
        if text in outputs.by_instruction
    ]
