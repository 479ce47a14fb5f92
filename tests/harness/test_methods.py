"""The methods: what their configurations say about themselves, their own axes, and the verb that lists them."""

import runpy
from pathlib import Path

import pytest
import yaml

from harness.cli import main
from harness.config.compose import choices, compose
from harness.errors import UserError
from harness.methods.listing import listed
from harness.methods.references import citation, references
from harness.trials.composed import composed_sweep

ROOT = Path(__file__).resolve().parents[2]
OWN = {
    "about": {"summary": "A guide with an axis of its own.", "axes": {"alpha": [0.25, 0.5]}},
    "_target_": "guiders.Guider",
    "base": "${model.base}",
    "token": {
        "_target_": "guiders.Implicit",
        "tuned": "${model.tuned}",
        "untuned": "${model.untuned}",
        "weight": "${grid.alpha}",
    },
}


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(OWN))
    return str(path)


def settings(*overrides: str) -> list[dict]:
    return [one.settings for one in composed_sweep(list(overrides)).settings if one.method != "base"]


@pytest.mark.parametrize("name", choices("guider"))
def test_every_method_says_what_it_is_and_cites_what_exists(name):
    one = listed(name)
    assert one.method.about.summary.endswith(".")
    assert set(one.method.about.cite) <= set(references())
    assert all(line[-1].isdigit() for line in one.citations)
    assert set(one.method.about.axes) <= set(one.axes), "an axis that the configuration does not name"


def test_a_method_s_own_axes_are_swept_and_changed_as_those_of_the_grid_are(own):
    assert settings(f"guider={own}") == [{"alpha": 0.25}, {"alpha": 0.5}]
    assert settings(f"guider={own}", "grid.alpha=[1,2,2]") == [{"alpha": 1}, {"alpha": 2}]
    with pytest.raises(UserError, match=r"did you mean 'grid\.alpha'"):
        compose("sweep", [f"guider={own}", "grid.alpah=1"])
    with pytest.raises(UserError, match=r"grid\.alpha: no such key"):
        compose("sweep", ["guider=eft", "grid.alpha=1"])


def test_what_is_said_about_a_method_is_not_in_its_identity(own):
    (first, *_) = [one for one in composed_sweep([f"guider={own}"]).settings if one.method == "own"]
    assert "about" not in first.config


def test_a_wrong_about_is_one_line(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(OWN | {"about": {"sumary": "x"}}))
    with pytest.raises(UserError, match=r"about\..*sumary"):
        composed_sweep([f"guider={path}"])


def test_references_are_sorted_and_read_field_by_field():
    assert list(references()) == sorted(references())
    assert citation("liu2024ivg") == "Liu et al. 2024, arXiv:2409.17819"


def test_the_verb_lists_describes_and_cites(capsys):
    assert main(["guiders"]) == 0
    table = capsys.readouterr().out
    assert all(f"\n{name} " in table for name in choices("guider"))
    assert main(["guiders", "ivg"]) == 0
    assert "Explicit" in capsys.readouterr().out
    assert main(["guiders", "ivg", "--cite"]) == 0
    assert capsys.readouterr().out.startswith("@inproceedings{liu2024ivg,")
    assert main(["guiders", "ivgg"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["guiders", "--sight"]) == 2


def test_the_pages_that_are_made_of_the_code_are_up_to_date():
    for path, text in runpy.run_path(str(ROOT / "docs" / "make.py"))["pages"]().items():
        assert path.is_file(), f"{path.name} is missing; run make docs"
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date; run make docs"
    there = {path.stem for path in (ROOT / "docs" / "methods").glob("*.md")} - {"README"}
    assert there == set(choices("guider")), "a page of a method that is gone"
