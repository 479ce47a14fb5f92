"""Bad input: every command is answered by one line ``error: …`` and exit code 2, and nothing is decoded.

A third of it is what tests/harness/test_bad_input.py holds to name its culprit; the rest is more of the same kinds, for
every verb.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks.torture.attempt import attempt
from benchmarks.torture.case import Case, drawn
from benchmarks.torture.scene import fixtures

Files = Mapping[str, str | bytes | None]  # name -> content, None for a folder
TASK = """task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: ""
metric_list: [{metric: bypass}]
"""
SCORED = "process_results: !function metric.score\n"
ROWS = '{"question": "a"}\n{"question": "b"}\n'
GUIDER = "_target_: guiders.Guider\nbase: ${model.base}\n"
CONFIG = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}

# of a sweep: (override, files beside it)
SWEEPS: list[tuple[str, Files]] = [
    ("grid.weight=1e999", {}),
    ("grid.length=1.5", {}),
    ("seeds=[-1]", {}),
    ("seeds=x", {}),
    ("block=x", {}),
    ("task.n_dev=0", {}),
    ("task.n_test=-1", {}),
    ("sampling.max_new_tokens=0", {}),
    ("sampling.top_k=-1", {}),
    ("sampling.top_p=1.5", {}),
    ("sampling.temperature=nan", {}),
    ("sampling=7", {}),
    ("name=", {}),
    ("model.value=null", {}),
    ("model.base=null", {}),
    ("model.base=''", {}),
    ("model.base=.", {}),
    ("model.base=broken", {"broken/config.json": "{"}),
    ("model.base=odd", {"odd/config.json": json.dumps({"model_type": "no_such_type"})}),
    ("model.base=weightless", {"weightless/config.json": json.dumps(CONFIG)}),
    ("model.base=listed", {"listed/config.json": "[]"}),
    ("guider=[]", {}),
    ("guider=null", {}),
    ("guider=nowhere.yaml", {}),
    ("guider=mine.yaml", {"mine.yaml": "a: [1"}),
    ("guider=mine.yaml", {"mine.yaml": "- a list"}),
    ("guider=mine.yaml", {"mine.yaml": b"\xff\xfe\x00"}),
    ("guider=mine.yaml", {"mine.yaml": "_target_: no_such_module.Guider\nbase: ${model.base}\n"}),
    ("guider=mine.yaml", {"mine.yaml": "_target_: guiders.NoSuchGuider\nbase: ${model.base}\n"}),
    ("guider=mine.yaml", {"mine.yaml": GUIDER + "search: {_target_: guiders.BestOfN, m: 4}\n"}),
    ("guider=mine.yaml", {"mine.yaml": GUIDER + "search: {_target_: builtins.dict, command: ls}\n"}),
    ("guider=mine.yaml", {"mine.yaml": GUIDER.replace("model.base", "model.bass")}),
    ("guider=mine.yaml", {"mine.yaml": GUIDER + "token: {_target_: guiders.EFT, tuned: '${model.tuned}'}\n"}),
    ("guider=mine.yaml", {"mine.yaml/a": ""}),
    ("task=mine.yaml", {"mine.yaml": b"\x00\x01", "rows.jsonl": ROWS}),
    ("task=mine.yaml", {"mine.yaml": b"\xff", "rows.jsonl": ROWS}),
    ("task=mine.yaml", {"mine.yaml": "", "rows.jsonl": ROWS}),
    ("task=mine.yaml", {"mine.yaml": TASK, "rows.jsonl": ""}),
    ("task=mine.yaml", {"mine.yaml": TASK, "rows.jsonl": b"\x80\n"}),
    ("task=mine.yaml", {"mine.yaml": TASK, "rows.jsonl": ROWS.splitlines()[0] + "\n"}),
    ("task=mine.yaml", {"mine.yaml": TASK, "rows.jsonl/a": ""}),
    ("task=mine.yaml", {"mine.yaml": TASK.replace("{{question}}", "{{question"), "rows.jsonl": ROWS}),
    ("task=mine.yaml", {"mine.yaml": TASK.replace("question", "answer"), "rows.jsonl": ROWS}),
    ("task=mine.yaml", {"mine.yaml": TASK.replace("bypass", "no_such_metric"), "rows.jsonl": ROWS}),
    ("task=mine.yaml", {"mine.yaml": TASK.replace("test_split: test", "test_split: dev"), "rows.jsonl": ROWS}),
    ("task=mine.yaml", {"mine.yaml": TASK.replace("generate_until", "sing"), "rows.jsonl": ROWS}),
    ("task=mine.yaml", {"mine.yaml": TASK + SCORED, "rows.jsonl": ROWS}),
    (
        "task=mine.yaml",
        {"mine.yaml": TASK + SCORED, "rows.jsonl": ROWS, "metric.py": "1/0"},
    ),
    ("task=nowhere.yaml", {}),
    ("task.data=nowhere.jsonl", {}),
    ("task.dev=no_such_task", {}),
    ("run_dir=''", {}),
    (f"run_dir={'x' * 300}", {}),
    ("run_dir=run", {"run/manifest.json": None, "run/config.yaml": None}),
    ("run_dir=run", {"run": "a file"}),
    ("select.metric=7", {}),
    ("select.guard=[fluency]", {}),
    ("select.guard=['fluency>=high']", {}),
    ("judge.max_missing=2", {}),
    ("judge={name: oracle}", {}),
    ("device=", {}),
    ("preset=[embedded,gate]", {}),
    ("=1", {}),
    ("grid..weight=1", {}),
    ("grid.weight=${oc.env:HOME}", {}),
    ("grid.weight=${grid.wieght}", {}),
    ("name=${name}", {}),
    ("\x1b[31mred=1", {}),
    ("grid.weight=\u202e1", {}),
]

# of other verbs: (arguments, files)
VERBS: list[tuple[list[str], Files]] = [
    (["report"], {}),
    (["report", "run=nowhere"], {}),
    (["report", "run=empty"], {"empty": None}),
    (["report", "runs=[]"], {}),
    (["report", "run=run"], {"run/trials/a.json": "{"}),
    (["report", "run=run"], {"run/trials/a.json": "[]"}),
    (["report", "run=run"], {"run/trials/a.json": b"\xff"}),
    (["report", "colour=red"], {}),
    (["gate", "run=nowhere"], {}),
    (["gate", "run=empty"], {"empty": None}),
    (["gate", "split=train"], {}),
    (["gate", "against=--output=x", "run=empty"], {"empty": None}),
    (["judge", "outputs=nowhere.json"], {}),
    (["judge", "task=none", "outputs=a.json", "reference=a.json"], {"a.json": "{"}),
    (["judge", "task=none", "outputs=a.json", "reference=a.json"], {"a.json": "[]"}),
    (["judge", "task=none", "outputs=a.json", "reference=a.json"], {"a.json": '[{"instruction": 1}]'}),
    (["judge", "task=none", "outputs=a.json", "reference=a.json"], {"a.json": b"\xff\xfe"}),
    (["submit"], {}),
    (["submit", "run=nowhere", "name=a", "link=https://a.b"], {}),
    (["submit", "run=empty", "name=a/b", "link=https://a.b"], {"empty": None}),
    (["submit", "run=empty", "name=a", "link=javascript:x"], {"empty": None}),
    (["train", "train=sft"], {}),
    (["train", "train=no_such_training"], {}),
    (["train", "train=sft", "data=nowhere.jsonl", "out=out"], {}),
    (["train", "train=sft", "data=a.jsonl", "out=out"], {"a.jsonl": "{"}),
    (["train", "train=sft", "data=a.jsonl", "out=out"], {"a.jsonl": ""}),
    (["train", "train=sft", "data=a.csv", "out=out"], {"a.csv": b"\xff\xfe\x00"}),
    (["train", "train=sft", "data=a.parquet", "out=out"], {"a.parquet": "no parquet"}),
    (["train", "train=dpo", "data=a.jsonl", "out=out"], {"a.jsonl": '{"prompt": "a", "chosen": "b"}\n'}),
    (["train", "train=sft", "train.epochs=0", "data=a.jsonl", "out=out"], {"a.jsonl": ROWS}),
    (["doctor", "device=gpu"], {}),
    (["bench", "no=such"], {}),
    (["swep"], {}),
    (["\x1b[2J"], {}),
]


def cases(sweep: list[str], count: int | None, seed: int) -> list[Case]:
    """So many of the bad inputs; None for all.

    Args:
        sweep: overrides of a sweep in which nothing is wrong.
    """
    found = [*_of_tests(sweep), *((["sweep", *sweep, word], files) for word, files in SWEEPS), *VERBS]
    return drawn([_case(number, *one) for number, one in enumerate(found)], count, seed)


def _of_tests(sweep: list[str]) -> Iterator[tuple[list[str], Files]]:
    fixtures()
    import test_bad_input as tests

    for override, *_ in _parameters(tests.test_a_wrong_override_is_named_with_its_mend):
        yield ["sweep", *sweep, override], {}
    for settings, *_ in _parameters(tests.test_what_can_be_known_is_said_before_anything_is_decoded):
        yield ["sweep", *sweep, *settings], {}
    for rows, task, _ in _parameters(tests.test_a_malformed_task_is_named_with_file_and_line):
        yield (
            ["sweep", *sweep, "task=mine.yaml"],
            {"mine.yaml": task, "rows.jsonl": "".join(f"{row}\n" for row in rows)},
        )


def _parameters(test: Callable) -> list[tuple]:
    (mark,) = [mark for mark in test.pytestmark if mark.name == "parametrize"]  # type: ignore[attr-defined]
    return list(mark.args[1])


def _case(number: int, arguments: list[str], files: Files) -> Case:
    def run(folder: Path) -> str | None:
        folder.mkdir(parents=True)
        for name, content in files.items():
            path = folder / name
            (path if content is None else path.parent).mkdir(parents=True, exist_ok=True)
            if content is not None:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        done = attempt(arguments, folder, _set_keys)
        lines = done.err.splitlines()
        if done.hung or done.code != 2 or len(lines) != 1 or not lines[0].startswith("error: "):
            return f"ends with {done.code} and {len(lines)} lines, the last: {(lines or [''])[-1][:300]}"
        if any(ord(sign) < 32 or sign in "\x7f\u202e\u2066" for sign in lines[0]):
            return f"the line can act on a terminal: {lines[0]!r}"
        if any(path.stat().st_size for path in folder.rglob("records/*.jsonl")):
            return "something was decoded"
        return None

    word = arguments[-1] if arguments[0] == "sweep" else " ".join(arguments)
    return Case("inputs", f"{number} {word} {' '.join(files)}".strip().encode("unicode_escape").decode(), run)


def _set_keys() -> None:
    """One judge's key is set, the other's is not."""
    os.environ.pop("OPENAI_API_KEY", None)
    os.environ["A_KEY"] = "k-hunter2"
