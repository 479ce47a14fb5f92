"""A data file whose content changes and whose time does not (rsync, containers): what is asked is what it holds now."""

import json
import os
from pathlib import Path

from harness.cli import main
from harness.records.lines import Lines

TASK = """
task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: ""
generation_kwargs: {until: []}
metric_list: [{metric: bypass}]
"""


def test_a_file_that_changed_within_its_time_and_length_is_read_again(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(TASK)
    small = ["guider=base", "seeds=[0]", "select.metric=null", "judge=null", "sampling.max_new_tokens=2"]

    def asked(*questions: str) -> set[str]:
        Path("rows.jsonl").write_text("".join(json.dumps({"question": text}) + "\n" for text in questions))
        os.utime("rows.jsonl", (1_700_000_000, 1_700_000_000))
        assert main(["sweep", *tiny, "task=mine.yaml", *small]) == 0
        trials = [path.stem for path in Path("runs/tiny/trials").glob("*.json")]
        return {row["prompt"] for trial in trials for row in Lines(f"runs/tiny/records/{trial}.jsonl")}

    assert asked("The acting", "A film was") == {"The acting", "A film was"}
    assert asked("The effects", "A plot was") == {"The effects", "A plot was"}
