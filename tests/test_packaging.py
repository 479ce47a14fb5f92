"""What is installed: every file of the four rooms and of conf/, and nothing else."""

import ast
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_imports import imported

ROOT = Path(__file__).resolve().parents[1]
INSTALLED = ("conf", "guiders", "harness", "reports", "tasks")
NO_CACHES = shutil.ignore_patterns("__pycache__", ".*")


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    return copied(tmp_path_factory.mktemp("source"))


def copied(folder: Path) -> Path:
    """The source tree, for setuptools writes beside what it builds."""
    folder.mkdir(exist_ok=True)
    for name in (*INSTALLED, "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=NO_CACHES)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(copy, tmp_path_factory) -> set[str]:
    """The names of the files in the wheel, without its own metadata."""
    out = tmp_path_factory.mktemp("wheel")
    script = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, out], cwd=copy, check=True, capture_output=True, timeout=120)
    (file,) = out.glob("*.whl")
    names = zipfile.ZipFile(file).namelist()
    return {name for name in names if ".dist-info/" not in name}


def test_every_file_is_installed_and_the_tests_are_not(copy, wheel):
    files = {
        path.relative_to(copy).as_posix() for room in INSTALLED for path in (copy / room).rglob("*") if path.is_file()
    }
    assert wheel == files


def test_every_folder_of_python_files_is_a_package(copy):
    folders = {path.parent for room in INSTALLED for path in (copy / room).rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_installation_names_no_place_to_install_from():
    for name in ("pyproject.toml", "constraints.txt", "Makefile", ".ci/run"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not any(word in text for word in ("index-url", "find-links", "://", "trusted-host")), name


def test_every_requirement_is_pinned_to_one_version():
    """Every direct dependency, the development tools too, has one exact version among the constraints."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    pins = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    assert len(pins) == len(lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for text in (*project["dependencies"], *project["optional-dependencies"]["dev"]):
        requirement = Requirement(text)
        pinned = pins.get(canonicalize_name(requirement.name))
        assert pinned, f"{requirement.name} is not pinned"
        assert requirement.specifier.contains(pinned), f"{text}: pinned to {pinned}"


NOT_IMPORTED = {
    "plotly": "reports/view/page.py takes its JavaScript",
    "accelerate": "transformers loads a model onto a device with it",
    "setuptools": "alpaca_eval imports its pkg_resources",
    "ruff": "make check", "mypy": "make check", "pre-commit": "CONTRIBUTING.md", "pytest": "make test",
    "llguidance": "tests of constraints skip without it",
    "pytest-timeout": "make test", "pytest-xdist": "make test", "bitsandbytes": "transformers quantises with it",
}  # fmt: skip


def third_party(*folders: str) -> set[str]:
    """The first words of what is imported there and comes neither with Python nor with this package."""
    found = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        found |= imported(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    beside = {path.stem for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")}
    return found - set(sys.stdlib_module_names) - set(INSTALLED) - {"tests", "benchmarks", *beside}


def declared(requirements: list[str]) -> dict[str, str]:
    """Module -> the distribution that a requirement names and that brings it, as they are installed here."""
    names = {canonicalize_name(Requirement(text).name) for text in requirements}
    return {
        module: canonicalize_name(name)
        for module, distributions in metadata.packages_distributions().items()
        for name in distributions
        if canonicalize_name(name) in names
    }


def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    users, developers = project["dependencies"], project["optional-dependencies"]["dev"]
    extras = [text for name, some in project["optional-dependencies"].items() if name != "dev" for text in some]
    optional = {Requirement(text).name for text in extras}  # need not be installed here; their modules bear their names
    ours, tests = third_party(*INSTALLED), third_party("tests", "benchmarks")
    known = declared(users)
    assert sorted(ours - known.keys() - optional) == []
    assert sorted(tests - known.keys() - declared(developers).keys() - optional) == []
    for requirements, modules in ((users, ours), (developers, tests)):
        names = {canonicalize_name(Requirement(text).name) for text in requirements}
        used = {name for module, name in declared(requirements).items() if module in modules}
        assert sorted(names - used - NOT_IMPORTED.keys()) == []
