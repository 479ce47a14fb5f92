"""``gate against=``: a run held to what another version of the code decodes with the same models."""

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from harness.gate import earlier_code
from harness.gate.accepted import Accepted, added
from harness.gate.accepted import read as read_accepted
from harness.gate.figures import run_figures, setting_names
from harness.gate.metrics import columns, directed, metrics, refuse_unmeasured
from harness.records.run_folder import RunFolder
from reports.gate.same_models import RecordDifference, Rows, SameModels, record_difference
from reports.gate.statistics import GateResult, compare, record
from reports.run import Run, load_run

if TYPE_CHECKING:
    from harness.gate.config import Gate

ACCEPTED = Path("baselines/accepted.yaml")
NOT_DECODED = "decoding"  # accepts that the earlier code does not run the change's command, or read its models
OUT = "against"  # in the run's folder: what the earlier code decodes


def compared(path: Path, against: str, spec: "Gate") -> tuple[SameModels | None, str]:
    """Hold the run in a folder to another version's.

    Args:
        against: "merge-base", a commit, a folder of code, or a run's folder.

    Returns:
        the comparison, None where there is nothing to compare with, and in words with what.

    Raises:
        UserError: no such commit or folder, earlier code that does not decode the run, other models.
    """
    with _other(path, against, spec) as (other, accepted, told):
        if other is None:
            return None, told
        before, after = load_run(other), load_run(path)
        _refuse_other_models(before, after)
        differences = tuple(_differences(before, after, spec.split, accepted))
        figures = None
        if any(one.differ or one.lost for one in differences):
            figures = _figures(before, after, spec)
        return SameModels(differences, spec.same_models.share, figures), told


@contextmanager
def _other(path: Path, against: str, spec: "Gate") -> Iterator[tuple[Path | None, list[Accepted], str]]:
    """The folder of the other run, what may differ from it, and what it is."""
    folder = Path(against).expanduser()
    file = Path(spec.accepted).expanduser() if spec.accepted else None
    if (folder / "trials").is_dir():
        yield folder, read_accepted(file) if file else [], f"the run {folder}"
    elif (folder / "harness").is_dir():
        yield _by_code(folder, path, f"the code in {folder}", file)
    else:
        found = earlier_code.merge_base() if against == earlier_code.MERGE_BASE else earlier_code.commit(against)
        if found is None:
            yield None, [], "no earlier commit to compare with (the first one, a shallow clone, or no repository)"
            return
        with earlier_code.files_of(found) as code:
            yield _by_code(code, path, f"the code of {found[:12]}", file)


def _by_code(code: Path, run: Path, told: str, file: Path | None) -> tuple[Path | None, list[Accepted], str]:
    """Decode the run by other code; what that code has accepted already is not accepted again."""
    accepted = added(file or earlier_code.ROOT / ACCEPTED, None if file else code / ACCEPTED)
    out = run / OUT
    if (out / "trials").is_dir():
        shutil.rmtree(out)
    print(f"decoding with {told} on the models of {run}", file=sys.stderr)
    try:
        earlier_code.rerun(code.resolve(), run, out.resolve())
    except UserError as error:
        meant = [entry.reason for entry in accepted if NOT_DECODED in entry.differs]
        if not meant:
            raise
        return None, [], f"nothing to compare with: {error}, which is meant ({meant[0]})"
    return out, accepted, told


def _differences(before: Run, after: Run, split: str | None, accepted: list[Accepted]) -> Iterator[RecordDifference]:
    sides = [_rows(run, split) for run in (before, after)]
    for setting in sorted(set(sides[0]) | set(sides[1])):
        entries = [entry for entry in accepted if entry.covers(setting)]
        fields = {field for entry in entries for field in entry.differs}
        one, other = (side.get(setting, {}) for side in sides)
        yield record_difference(setting, one, other, fields, [entry.reason for entry in entries])


def _rows(run: Run, split: str | None) -> Mapping[str, Rows]:
    """Setting -> (split, seed, prompt key) -> what is recorded, its scores and its preference."""
    folder, trials = RunFolder(run.path), list(run.trials["trial"])
    names = setting_names(trials)
    found: dict[str, dict[tuple[str, int, str], dict]] = {name: {} for name in names.values()}
    for trial in trials:
        if split not in (None, trial["split"]):
            continue
        scores = folder.rows(folder.scores(trial["id"]), last=True)
        judgements = folder.rows(folder.judgements(trial["id"]), last=True)
        for key, row in folder.rows(folder.records(trial["id"])).items():
            values = {**(scores.get(key, {}).get("scores") or {}), **row}
            if key in judgements:
                values["preference"] = judgements[key]["preference"]
            found[names[trial["setting"]]][trial["split"], trial["seed"], key] = values
    return found


def _figures(before: Run, after: Run, spec: "Gate") -> GateResult | None:
    """The gate's rows on what both runs have; None where they share no setting, prompt or figure."""
    held = directed(spec.same_models.metrics, after.directions)
    earlier, later = (record(run_figures(run, spec.split)[0]) for run in (before, after))
    refuse_unmeasured("run", later, held)
    there = set(later["prompts"])
    prompts = [key for key in earlier["prompts"] if key in there]
    sides = [columns(_shared(side, other, prompts), held) for side, other in ((earlier, later), (later, earlier))]
    both = [row for row in metrics(held) if all(row.name in found for found in sides[0]["settings"].values())]
    if len(prompts) < 2 or not sides[0]["settings"] or not both:
        return None
    # the task's files, the judge and the seeds may be part of the change: what they make differ is named above
    same = {"task": later["task"], "judge": later["judge"], "seeds": []}
    return compare(sides[1], {**sides[0], **same}, both)


def _shared(side: dict, other: dict, prompts: list[str]) -> dict:
    place = {key: number for number, key in enumerate(side["prompts"])}
    settings = {
        name: {metric: [values[place[key]] for key in prompts] for metric, values in found.items()}
        for name, found in side["settings"].items()
        if name in other["settings"]
    }
    return {**side, "prompts": prompts, "settings": settings}


def _refuse_other_models(before: Run, after: Run) -> None:
    sides = [_models(run) for run in (before, after)]
    for place, revision in sides[0].items():
        if sides[1].get(place, revision) != revision:
            raise UserError(
                f"against: {place} is another model in {before.path} ({revision}) than in {after.path} "
                f"({sides[1][place]}); compare runs of the same models"
            )


def _models(run: Run) -> dict[str, str]:
    """Every model of every setting, by content."""
    trials = list(run.trials["trial"])
    names = setting_names(trials)
    return {
        f"{place} of {names[trial['setting']]}": str(revision)
        for trial in trials
        for place, revision in (trial.get("revisions") or {}).items()
        if _is_model(trial.get("guider"), place)
    }


def _is_model(guider: Any, place: str) -> bool:
    for part in place.split("."):
        guider = guider.get(part) if isinstance(guider, dict) else None
    return isinstance(guider, dict) and "revision" in guider
