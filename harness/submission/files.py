"""A submission to a leaderboard: what it is asked for, its files, and the check that they are read back as meant."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from harness.config.compose import compose
from harness.config.schema import Part, validated
from harness.errors import UserError
from harness.judges.config import OpenAISpec, judge_spec
from harness.judges.outputs import paired, read_outputs
from harness.judges.replay import ReplayJudge
from harness.records.judgement import Pair
from harness.records.run_folder import RunFolder, write_text

if TYPE_CHECKING:
    from harness.submission.alpaca_eval import Entry

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
LINK = re.compile(r"https?://[^\s<>\"']+")
DECODER = "harness.adapters.alpaca_eval.AlpacaEvalDecoder"  # what decodes a guided model inside alpaca_eval
SAME = 1e-6  # percentage points; the length-controlled fit is converged no further


class Submission(Part):
    """See ``conf/submit.yaml``."""

    run: str = Field(description="the run's folder")
    trial: str | None
    name: str = Field(description="the model's name on the leaderboard")
    link: str = Field(description="where the leaderboard's entry leads")
    reference: str | None
    out: str | None
    judge: OpenAISpec


def submission(overrides: list[str]) -> Submission:
    """The checked configuration of ``python -m harness submit``.

    Raises:
        UserError: a wrong or missing value.
    """
    config = compose("submit", overrides).config
    for name in ("run", "name", "link"):
        if config.get(name) is None:
            raise UserError(f"{name}: not set; give {name}=VALUE")
    found = validated(Submission, {**config, "name": str(config["name"]), "judge": judge_spec(config["judge"])})
    if not NAME.fullmatch(found.name):
        raise UserError(f"name={found.name!r}: letters, digits, dots, dashes and _ only: it becomes a folder's name")
    if not LINK.fullmatch(found.link):
        raise UserError(f"link={found.link!r}: not an http(s) address")
    return found


def write_submission(config: Submission) -> list[Path]:
    """Write the files of a submission; where they are.

    Raises:
        UserError: a run that can't be submitted, with why; nothing is written then.
    """
    run = Path(config.run).expanduser()
    trial = _trial(run, config.trial)
    out = Path(config.out).expanduser() if config.out else run / "submission"
    if trial.get("task", "alpaca_eval") == "alpaca_eval":
        files = _alpaca_eval(config, run, trial)
    else:
        files = _lm_eval(config, run, trial)
    for name, text in files.items():
        write_text(out / name, text)
    return [out / name for name in files]


def _trial(run: Path, wanted: str | None) -> dict:
    """The trial's file, or for outputs that came from elsewhere only its id."""
    known = sorted(path.stem for path in run.glob("records/*.jsonl") if not path.stem.endswith(".rejected"))
    if not known:
        raise UserError(f"run={run}: holds no records; give the folder of a sweep or of a judged file")
    if wanted is None and len(known) > 1:
        raise UserError(f"trial: not set, and run={run} holds {len(known)}; choose one of {', '.join(known[:20])}")
    trial = wanted or known[0]
    if trial not in known:
        raise UserError(f"trial={trial!r}: not in run={run}; choose one of {', '.join(known[:20])}")
    file = run / "trials" / f"{trial}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"id": trial}


def _alpaca_eval(config: Submission, run: Path, trial: dict) -> dict[str, str]:
    """path -> text of the pull request's files, checked."""
    from harness.submission import alpaca_eval as files
    from tasks.alpaca_eval.data import in_order, reference_file, shipped

    reference = read_outputs(config.reference or reference_file())
    order = in_order(reference.by_instruction)
    records = run / "records" / f"{trial['id']}.jsonl"
    outputs = read_outputs(records, order)
    pairs = paired(outputs, reference, order)
    files.validate(pairs)
    recorded = ReplayJudge(files.ANNOTATOR, files.MODEL).recorded(pairs, run)
    entry = files.Entry(
        name=config.name,
        link=config.link,
        pairs=pairs,
        datasets=[row["dataset"] for row in shipped()],
        recorded=recorded,
        trial=trial,
        prompt=_prompt_template(RunFolder(run), trial["id"], pairs),
    )
    notes = files.annotations(entry, config.judge.known_prices())
    outputs_json, annotations_json = _json(files.model_outputs(entry)), _json(notes)
    row = _checked_row(entry, outputs_json, annotations_json)
    return {
        f"results/{entry.name}/model_outputs.json": outputs_json,
        f"{entry.results}/annotations.json": annotations_json,
        f"{entry.results}/leaderboard.csv": files.leaderboard_csv(entry, row),
        f"{entry.configs}/configs.yaml": files.model_config(entry, DECODER),
        f"{entry.configs}/prompt.txt": entry.prompt,
    }


def _checked_row(entry: "Entry", outputs_json: str, annotations_json: str) -> dict:
    """alpaca_eval's own row of the files, once it is the row that the judgements come to here.

    Raises:
        UserError: the two differ.
    """
    import tempfile

    from harness.adapters.alpaca_eval_row import alpaca_eval_row
    from harness.judges.leaderboard import leaderboard_row, table
    from harness.judges.openai_judge import judgements

    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder) / "model_outputs.json", Path(folder) / "annotations.json"
        for path, text in zip(paths, (outputs_json, annotations_json), strict=True):
            path.write_text(text, encoding="utf-8")
        theirs = alpaca_eval_row(*paths)
    found = entry.recorded
    judged = judgements(found.annotator, found.judge, entry.pairs, "reference", found.questions, found.rows)
    ours = leaderboard_row(entry.name, entry.pairs, judged)
    for mine, name in (
        ("win_rate", "win_rate"),
        ("standard_error", "standard_error"),
        ("lc_win_rate", "length_controlled_winrate"),
        ("n", "n_total"),
    ):
        if ours[mine] is None or abs(ours[mine] - theirs[name]) > SAME:
            raise UserError(f"alpaca_eval computes {name}={theirs[name]} from the files, and not {ours[mine]}")
    print(table(ours))
    print("alpaca_eval computes the same row from these files")
    return theirs


def _prompt_template(run: RunFolder, trial: str, pairs: list[Pair]) -> str:
    """The prompts with their instruction taken out: what the model was given around it.

    Raises:
        UserError: the prompts have no template in common.
    """
    records = run.rows(run.records(trial)).values()
    by_index = {row["index"]: row["prompt"] for row in records}
    templates = {by_index[pair.index].replace(pair.instruction, "{instruction}", 1) for pair in pairs}
    if len(templates) != 1:
        raise UserError(f"trial={trial}: its prompts have no one template; submit a run without few-shot examples")
    return templates.pop()


def _lm_eval(config: Submission, run: Path, trial: dict) -> dict[str, str]:
    """path -> text of lm-eval's results and samples."""
    from harness.submission import lm_eval

    folder = RunFolder(run)
    scores = {key: row["scores"] for key, row in folder.rows(folder.scores(trial["id"]), last=True).items()}
    rows = lm_eval.samples(list(folder.rows(folder.records(trial["id"])).values()), scores)
    results = lm_eval.results(config.name, trial, rows)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    task = re.sub(r"[^\w.-]", "_", trial["task"], flags=re.ASCII)
    return {
        f"{config.name}/results_{trial['id']}.json": _json(results),
        f"{config.name}/samples_{task}_{trial['id']}.jsonl": lines,
    }


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
