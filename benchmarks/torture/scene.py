"""The runs that are attacked: a command line for each kind of work, and what it leaves when nobody disturbs it."""

import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.torture import events
from benchmarks.torture.attempt import Attempt, attempt, preload, wide_pipe

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "harness"
VARIES = (
    "seconds",
    "checksum",
    "tokens_per_second",
    "date",
    "wall_seconds",
    "command",
    "decoded_by",
)  # from run to run, or with the folder
TAX = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: {output}
doc_to_text: "{{{{question}}}}"
{more}
metric_list:
  - {{metric: {metric}, aggregation: mean, higher_is_better: true}}
"""


@dataclass
class Scene:
    """A kind of work.

    Attributes:
        arguments: its command line, without the run's folder.
        start: a run's folder to begin with; None for nothing.
        whole: what an undisturbed run leaves, by file and row (`content`).
        kinds: its file-system events in their order (`benchmarks.torture.events`).
        seconds: how long it takes.
    """

    name: str
    arguments: list[str]
    start: Path | None = None
    whole: dict = field(default_factory=dict)
    kinds: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def prepare(self, folder: Path) -> Path:
        """A fresh folder of an attempt; the run's own in it."""
        folder.mkdir(parents=True)
        if self.start:
            shutil.copytree(self.start, folder / "run")
        return folder / "run"

    def command(self, run: Path) -> list[str]:
        return [*self.arguments, f"run_dir={run}"]

    def finish(self, run: Path) -> str | None:
        """Run the command undisturbed; what is wrong with the outcome, None where it is what it must be."""
        done = attempt(self.command(run), run.parent)
        if done.code != 0:
            return f"the next run ends with {done.code}: {last_line(done)}"
        return difference(self.whole, content(run))

    def measure(self, folder: Path) -> Path:
        """Run it once undisturbed and once more to list its events; the run's folder."""
        run = self.prepare(folder / "whole")
        done = attempt(self.command(run), run.parent)
        if done.code != 0:
            raise RuntimeError(f"{self.name} does not run: {done.err}")
        self.whole, self.seconds = content(run), done.seconds
        again = self.prepare(folder / "listed")
        reader, writer = wide_pipe()
        before = lambda: events.install(again, events.listed(writer))  # noqa: E731
        attempt(self.command(again), again.parent, before)
        os.close(writer)
        with open(reader, encoding="utf-8") as lines:
            self.kinds = lines.read().split()
        return run


def fixtures() -> None:
    """Let the models and the mutations of the tests be imported."""
    if str(FIXTURES) not in sys.path:
        sys.path.insert(0, str(FIXTURES))


def scenes(folder: Path, models: dict[str, str]) -> dict[str, Scene]:
    """A sweep, a sweep over a run with damaged rows, and the alignment tax; each measured.

    What they import is imported here before they are measured.
    """
    fixtures()
    import tiny_sweep

    small = [
        "guider=[eft,best_of_n_implicit]", "grid.weight=1", "grid.n=[2,4]", "grid.rows=null", "seeds=[0]",
        "task.n_dev=2", "task.n_test=3", "sampling.max_new_tokens=4",
    ]  # fmt: skip
    sweep = Scene("sweep", ["sweep", *tiny_sweep.options(models), *small])
    tax = Scene("tax", tax_arguments(folder / "tasks", models))
    for scene in (sweep, tax):
        run = scene.prepare(folder / f"import {scene.name}")
        preload(scene.command(run), run.parent)
    run = sweep.measure(folder / "sweep")
    mend = Scene("mend", sweep.arguments, damaged(run, folder / "damaged"))
    mend.measure(folder / "mend")
    tax.measure(folder / "tax")
    return {scene.name: scene for scene in (sweep, mend, tax)}


def tax_arguments(folder: Path, models: dict[str, str]) -> list[str]:
    """Two small tasks of lm-eval, and the sweep that evaluates them."""
    folder.mkdir(parents=True)
    rows = folder.parent / "rows.jsonl"
    rows.write_text("".join(json.dumps({"question": f"The film {n}", "answer": "x"}) + "\n" for n in range(6)))
    greedy = 'doc_to_target: "{{answer}}"\ngeneration_kwargs: {until: [], do_sample: false, max_gen_toks: 4}'
    for name, output, metric, more in (
        ("tiny_generate", "generate_until", "exact_match", greedy),
        ("tiny_choose", "multiple_choice", "acc", 'doc_to_target: 0\ndoc_to_choice: ["good", "bad"]'),
    ):
        text = TAX.format(name=name, file=rows, output=output, metric=metric, more=more)
        (folder / f"{name}.yaml").write_text(text)
    return [
        "sweep", "preset=none", "model=hf", "name=tax", "task=lm_eval", f"task.path={folder}",
        "grid.weight=[1]", "guider=eft", "task.names=[tiny_generate,tiny_choose]",
        *(f"model.{role}={models[role]}" for role in ("base", "tuned", "untuned", "value")),
    ]  # fmt: skip


def damaged(run: Path, copy: Path) -> Path:
    """A copy of a run with a row changed in a file of each kind."""
    shutil.copytree(run, copy)
    for kind, old, new in (
        ("records", b'"n_tokens": ', b'"n_tokens": 1'),
        ("scores", b"0.", b"1."),
        ("judgements", b"1.", b"2."),
    ):
        file = next(path for path in sorted((copy / kind).glob("*.jsonl")) if not path.name.startswith("base-"))
        file.write_bytes(file.read_bytes().replace(old, new, 1))
    return copy


def content(run: Path) -> dict:
    """(file, key) -> the row that counts, and file -> its JSON: what a run holds, without times."""
    found: dict = {}
    for path in sorted(run.rglob("*.jsonl")):
        if ".rejected" not in path.name:
            for line in path.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                found[f"{path.parent.name}/{path.name}", row.get("task"), row["key"]] = _stable(row)
    for path in [
        *run.glob("trials/*.json"),
        *run.glob("tax/*.json"),
        *run.glob("report/*.json"),
        run / "manifest.json",
    ]:
        found[f"{path.parent.name}/{path.name}"] = _stable(json.loads(path.read_text(encoding="utf-8")))
    for name in ("index.html", "summary.csv", "summary.md") if (run / "records").exists() else ("tax.md",):
        found[f"report/{name}"] = (run / "report" / name).stat().st_size > 0
    found["leftovers"] = sorted(path.name for path in run.rglob("*") if path.name.endswith((".part", ".tmp")))
    return found


def difference(whole: dict, found: dict) -> str | None:
    """What a run holds that the undisturbed one does not, or the reverse; None where they hold the same."""
    whole, found = ({_named(key): value for key, value in side.items()} for side in (whole, found))
    for key in {**whole, **found}:
        if whole.get(key) != found.get(key):
            return f"{key} is {json.dumps(found.get(key))[:200]} and not {json.dumps(whole.get(key))[:200]}"
    return None


def last_line(done: Attempt) -> str:
    return (done.err.strip().splitlines() or ["nothing said"])[-1][:300]


def _named(key: str | tuple) -> str:
    return key if isinstance(key, str) else " ".join(map(str, key))


def _stable(value: object) -> object:
    if isinstance(value, dict):
        return {name: _stable(inner) for name, inner in value.items() if name not in VARIES}
    return [_stable(inner) for inner in value] if isinstance(value, list) else value
