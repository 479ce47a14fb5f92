"""docs/architecture.md names what there is: every file of harness/, and nothing that is gone."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def section() -> str:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    return text.split("## Harness")[1].split("\n## ")[0]


def test_every_file_of_harness_is_listed_once_and_no_other():
    there = {
        path.relative_to(ROOT / "harness").as_posix()
        for path in (ROOT / "harness").rglob("*.py")
        if path.name != "__init__.py"
    }
    listed = re.findall(r"^\| `([\w/]+\.py)` \|", section(), re.MULTILINE)
    assert sorted(listed) == sorted(there)


def test_the_way_of_a_record_names_files_that_are_there():
    steps = section().split("Every file of")[0]
    assert re.findall(r"^(\d+)\. ", steps, re.MULTILINE) == [str(number) for number in range(1, 13)]
    for name in re.findall(r"`([\w/]+\.py)`", steps):
        assert (ROOT / "harness" / name).is_file() or (ROOT / name).is_file(), name


def test_every_room_says_what_it_answers():
    for folder in (ROOT / "harness").iterdir():
        if (folder / "__init__.py").exists():
            assert (folder / "__init__.py").read_text(encoding="utf-8").startswith('"""'), folder.name
