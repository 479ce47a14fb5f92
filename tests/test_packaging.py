"""What is installed: every file of the four rooms and of conf/, and nothing else."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    pins = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    assert len(pins) == len(lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for text in (*project["dependencies"], *project["optional-dependencies"]["dev"]):
        requirement = Requirement(text)
        pinned = pins.get(canonicalize_name(requirement.name))
        assert pinned, f"{requirement.name} is not pinned"
        assert requirement.specifier.contains(pinned), f"{text}: pinned to {pinned}"
