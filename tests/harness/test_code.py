"""Code is part of what a run is: a user's own guider by its source, the harness's by what the manifest says."""

import json
import subprocess
from pathlib import Path

import pytest

from harness.records.lines import Lines
from harness.trials.code import ROOT, code_hash, decoding_code

GUIDE = '''
from dataclasses import dataclass
from amounts import AMOUNT

@dataclass(frozen=True)
class Favour:
    """Adds to the logit of one token."""

    token: int

    @property
    def models(self):
        return ()

    def shift(self):
        import torch

        return torch.nn.functional.one_hot(torch.tensor(self.token), 320) * float(AMOUNT)
'''
OWN = "_target_: guiders.Guider\nbase: ${model.base}\ntoken: {_target_: favour.Favour, token: 70}\n"


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A package of guides that import from each other in every way; importing any of it fails."""
    monkeypatch.syspath_prepend(tmp_path)
    sources = {
        "guides_pkg/__init__.py": "raise RuntimeError('imported')",
        "guides_pkg/first.py": "from . import second\nimport beside_it\nimport json, torch, harness.cli\n",
        "guides_pkg/second.py": "def f():\n    from guides_pkg.deep.third import g as h\n",
        "guides_pkg/deep/third.py": "from ..fourth import *\ntry:\n    import no_such\nexcept ImportError:\n    pass\n",
        "guides_pkg/fourth.py": "import guides_pkg.first\n",
        "guides_pkg/alone.py": "",
        "beside_it.py": "import beside_that",
        "beside_that/__init__.py": "",
        "not_imported.py": "",
    }
    for name, source in sources.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    return tmp_path


SEEN = [
    *(f"guides_pkg/{name}.py" for name in ("__init__", "first", "second", "deep/third", "fourth")),
    "beside_it.py",
    "beside_that/__init__.py",
]


@pytest.mark.parametrize("changed", SEEN)
def test_every_module_that_a_target_imports_is_in_its_hash(changed, package):
    before = code_hash("guides_pkg.first.Guide")
    assert before == code_hash("guides_pkg.first.Guide")
    file = package / changed
    file.write_text(file.read_text() + "\nX = 1\n")
    assert code_hash("guides_pkg.first.Guide") != before


@pytest.mark.parametrize("changed", ["not_imported.py", "guides_pkg/alone.py", "guides_pkg/notes.txt"])
def test_what_a_target_does_not_import_is_not_in_its_hash(changed, package):
    before = code_hash("guides_pkg.first.Guide")
    (package / changed).write_text("X = 1\n")
    assert code_hash("guides_pkg.first.Guide") == before


def test_where_code_lies_is_not_in_its_hash(package, tmp_path_factory, monkeypatch):
    before, elsewhere = code_hash("beside_it.Guide"), tmp_path_factory.mktemp("elsewhere")
    for name in ("beside_it.py", "beside_that/__init__.py"):
        (elsewhere / name).parent.mkdir(exist_ok=True)
        (package / name).rename(elsewhere / name)
    monkeypatch.syspath_prepend(elsewhere)
    assert code_hash("beside_it.Guide") == before


@pytest.mark.parametrize("target", ["guiders.Guider", "guiders.token.Implicit", "builtins.dict", "no_such.Guide", ""])
def test_this_packages_own_code_and_what_has_no_source_have_no_hash(target):
    assert code_hash(target) is None


def test_an_installed_target_is_its_own_package_and_not_what_that_imports():
    import jinja2

    folder = Path(jinja2.__file__).parent
    read = set()
    original = Path.read_bytes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda self: (read.add(self), original(self))[1])
        assert code_hash("jinja2.Template")
    assert folder / "environment.py" in read
    assert {file.parent for file in read} == {folder}


def test_a_changed_guide_is_decoded_again_and_an_unchanged_one_is_not(tiny, command_line, tmp_path):
    (tmp_path / "favour.py").write_text(GUIDE)
    (tmp_path / "amounts.py").write_text("AMOUNT = 0\n")
    (tmp_path / "mine.yaml").write_text(OWN)
    few = ["task.n_dev=1", "task.n_test=2", "seeds=0", "judge=null", "sampling.max_new_tokens=4"]

    def mine() -> tuple[str, list[str]]:
        done = command_line(["sweep", *tiny, *few, "guider=mine.yaml"], tmp_path)
        assert done.returncode == 0, done.stderr
        (trial,) = [
            found["id"]
            for path in (tmp_path / "runs/tiny/trials").glob("*.json")
            if (found := json.loads(path.read_text()))["method"] == "mine" and found["split"] == "test"
        ]
        return done.stdout, [row["response"] for row in Lines(tmp_path / f"runs/tiny/records/{trial}.jsonl")]

    said, weak = mine()
    assert "generated 6 samples" in said
    said, again = mine()
    assert "nothing to generate" in said
    assert again == weak
    (tmp_path / "amounts.py").write_text("AMOUNT = 1000\n")
    said, strong = mine()
    assert "generated 3 samples" in said  # the base's stay
    assert len({tuple(text) for text in strong}) == 1  # the one favoured token, again and again
    assert strong != weak


def test_a_model_in_a_list_of_guides_is_known_by_what_it_is(tiny_models, tmp_path):
    from test_trials import jobs

    copy, own = tmp_path / "copy", tmp_path / "mine.yaml"
    copy.mkdir()
    for file in Path(tiny_models["tuned"]).iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    guide = "{_target_: guiders.Implicit, tuned: '${model.tuned}', untuned: '${model.untuned}', weight: 1}"
    own.write_text(f"_target_: guiders.Guider\nbase: ${{model.base}}\ntoken: [{guide}]\n")

    def trial(tuned: str):
        roles = {**tiny_models, "tuned": tuned}
        given = [f"model.{role}={roles[role]}" for role in ("base", "tuned", "untuned", "value")]
        return jobs(["model=hf", *given, f"guider={own}"])[-1].trial

    assert trial(str(copy)).id == trial(tiny_models["tuned"]).id
    (copy / "generation_config.json").write_text("{}")
    assert trial(str(copy)).id != trial(tiny_models["tuned"]).id
    assert set(trial(str(copy)).revisions) == {"base", "token.0.tuned", "token.0.untuned", "task"}


def test_records_of_other_decoding_code_are_kept_and_said(tiny, tmp_path, monkeypatch, capsys):
    from harness.cli import main

    monkeypatch.chdir(tmp_path)
    small = [*tiny, "guider=base", "task.n_dev=1", "task.n_test=1", "seeds=0", "sampling.max_new_tokens=2"]
    assert main(["sweep", *small]) == 0
    path = Path("runs/tiny/manifest.json")
    manifest = json.loads(path.read_text())
    assert manifest["decoded_by"] == [decoding_code()]
    capsys.readouterr()
    assert main(["sweep", *small]) == 0
    assert "decoded" not in capsys.readouterr().err
    manifest["decoded_by"][0] |= {"version": "0.0.1", "source": "sha256:0000000000000000"}
    path.write_text(json.dumps(manifest))
    assert main(["sweep", *small]) == 0
    said = capsys.readouterr()
    assert "nothing to generate" in said.out
    (line,) = [line for line in said.err.splitlines() if "decoded" in line]
    assert "0.0.1" in line
    assert "name=NAME" in line
    assert main(["sweep", *small, "seeds=0,1"]) == 0
    assert [code["version"] for code in json.loads(path.read_text())["decoded_by"]] == [
        "0.0.1",
        decoding_code()["version"],
    ]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_the_commit_is_gits():
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    assert head.startswith(decoding_code()["commit"])
