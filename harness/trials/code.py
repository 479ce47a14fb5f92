"""Code as part of what a run is: the sources behind a configuration's ``_target_``, and the harness's own."""

import ast
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OURS = {"conf", "guiders", "harness", "reports", "tasks"}
# what makes tokens of a prompt
DECODING = (
    "guiders",
    "harness/backends",
    "harness/adapters/lm_eval_prompts.py",
    "harness/adapters/lm_eval_sampling.py",
)


def targets(config: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every ``_target_`` of a configuration: (dotted place of the key, the name)."""
    if isinstance(config, list):
        config = {str(place): item for place, item in enumerate(config)}
    if not isinstance(config, dict):
        return
    for name, value in config.items():
        if name == "_target_" and isinstance(value, str):
            yield prefix + name, value
        else:
            yield from targets(value, f"{prefix}{name}.")


def code_hash(target: str) -> str | None:
    """What a ``_target_`` does, by content: "sha256:" and 16 hex digits of its module's source and of every module that
    this imports, directly or not, and that is the user's own: neither Python's nor an installed package's (of an
    installed target, the modules of its own package). Nothing is imported to find this out.

    What code reads from other files, or imports by a name that it makes up, is not seen.

    Returns:
        None for this package's own code (see `decoding_code`), and where there is no source to read.
    """
    package = target.partition(".")[0]
    if package in OURS:
        return None
    sources: dict[str, bytes] = {}
    waiting = [target]
    while waiting:
        for name, file in _modules(waiting.pop(), package):
            if name not in sources:
                sources[name] = file.read_bytes()
                waiting += _imports(name, file, sources[name])
    if not sources:
        return None
    digest = hashlib.sha256()
    for name, source in sorted(sources.items()):
        digest.update(name.encode() + b"\0" + source + b"\0")
    return f"sha256:{digest.hexdigest()[:16]}"


def _modules(dotted: str, package: str) -> Iterator[tuple[str, Path]]:
    """The modules on the way to a dotted name that count as code of a target in this package: (name, file)."""
    names = dotted.split(".")
    if names[0] in OURS or names[0] in sys.stdlib_module_names:
        return
    try:
        spec = find_spec(names[0])
    except (ImportError, ValueError):  # ValueError: a module that was made by hand and has no place
        return
    if spec is None:
        return
    file = Path(str(spec.origin)) if spec.has_location and str(spec.origin).endswith(".py") else None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if names[0] != package and file is not None and _is_installed(file):
        return
    for depth in range(1, len(names) + 1):
        if file is not None:
            yield ".".join(names[:depth]), file
        if depth < len(names):
            file, folders = _inside(folders, names[depth])


def _inside(folders: list[Path], name: str) -> tuple[Path | None, list[Path]]:
    """A module of a package with these folders: its file, and its own folders where it is a package."""
    for folder in folders:
        if (folder / name / "__init__.py").is_file():
            return folder / name / "__init__.py", [folder / name]
        if (folder / f"{name}.py").is_file():
            return folder / f"{name}.py", []
    return None, [folder / name for folder in folders if (folder / name).is_dir()]


def _is_installed(file: Path) -> bool:
    return not {"site-packages", "dist-packages"}.isdisjoint(file.parts)


def _imports(module: str, file: Path, source: bytes) -> list[str]:
    """The dotted names that a module imports, wherever in it; none where it does not parse (its import will tell)."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            start = ".".join([*filter(None, above), *filter(None, [node.module])])
            # what is imported from a package may be a module or a name in it
            found += [f"{start}.{alias.name}" if start else alias.name for alias in node.names]
    return found


@cache
def decoding_code() -> dict[str, str]:
    """The harness's own code that decodes: ``version``, in a checkout the git ``commit``, and ``source``, a hash of the
    files, which also sees what is not committed."""
    digest = hashlib.sha256()
    for place in DECODING:
        path = ROOT / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    found = {"version": _version(), "source": f"sha256:{digest.hexdigest()[:16]}"}
    commit = _commit()
    return {**found, "commit": commit} if commit else found


def _version() -> str:
    try:
        return metadata.version("ivg-harness")
    except metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str | None:
    if not (ROOT / ".git").exists():
        return None
    try:
        asked = ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"]
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):  # no git, or a checkout of somebody else's
        return None
