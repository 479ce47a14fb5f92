"""docs/architecture.md names what there is: every file of guiders/ and harness/, and nothing that is gone."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


ROOMS = ("guiders", "harness")
STEPS = {"guiders": 7, "harness": 12}


def section(room: str) -> str:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    return text.split(f"## {room.capitalize()}")[1].split("\n## ")[0]


@pytest.mark.parametrize("room", ROOMS)
def test_every_file_is_listed_once_and_no_other(room):
    there = {
        path.relative_to(ROOT / room).as_posix() for path in (ROOT / room).rglob("*.py") if path.name != "__init__.py"
    }
    listed = re.findall(r"^\| `([\w/]+\.py)` \|", section(room), re.MULTILINE)
    assert sorted(listed) == sorted(there)


@pytest.mark.parametrize("room", ROOMS)
def test_the_way_of_a_token_and_of_a_record_name_files_that_are_there(room):
    steps = section(room).split("Every file of")[0]
    assert re.findall(r"^(\d+)\. ", steps, re.MULTILINE) == [str(number) for number in range(1, STEPS[room] + 1)]
    for name in re.findall(r"`([\w/]+\.py)`", steps):
        assert (ROOT / room / name).is_file() or (ROOT / name).is_file(), name


@pytest.mark.parametrize("room", ROOMS)
def test_every_folder_says_what_it_answers(room):
    for folder in (ROOT / room).iterdir():
        if (folder / "__init__.py").exists():
            assert (folder / "__init__.py").read_text(encoding="utf-8").startswith('"""'), folder.name
