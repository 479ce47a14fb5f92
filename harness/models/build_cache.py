"""What is expensive to make and the same for everyone who makes it: entries of the user's cache, keyed by content.

An entry is a folder. It is written under another name and renamed when complete, so a killed process leaves nothing
that looks finished; ``digest.json`` in it holds the SHA-256 of every file, so damage is seen when it is opened.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from harness.errors import UserError

DIGEST = "digest.json"


def root(cache_dir: str | os.PathLike | None = None) -> Path:
    """As given, else ``HARNESS_CACHE``, else the folder ``ivg-harness`` in ``XDG_CACHE_HOME`` or ``~/.cache``."""
    if cache_dir is None:
        cache_dir = os.environ.get("HARNESS_CACHE")
    if cache_dir:
        return Path(cache_dir).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ivg-harness"


def entry(folder: Path, name: str, make: Callable[[Path], None], say: Callable[[str], None]) -> Path:
    """The entry ``name``, made on first use; of several processes that want it at once, one makes it.

    Args:
        folder: the cache's folder.
        name: of the entry; holds a hash of everything that its content depends on.
        make: writes the content into the empty folder that it is given.
        say: told, in one line, when a damaged entry is made anew.

    Raises:
        UserError: the cache's folder can't be written.
    """
    # filelock comes with transformers and datasets.
    from filelock import FileLock

    path = folder / name
    if damage(path) is None:
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name}.lock")
        lock.acquire()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(f"{folder}: {reason}; set HARNESS_CACHE to a folder that can be written") from None
    try:
        fault = damage(path)
        if fault is None:
            return path
        if path.exists():
            say(f"{path}: {fault}; it is built again")
        _make(path, make)
    finally:
        lock.release()
    return path


def _make(path: Path, make: Callable[[Path], None]) -> None:
    prefix = f".{path.name}."
    for left_behind in path.parent.glob(f"{prefix}*"):
        shutil.rmtree(left_behind)
    unfinished = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    try:
        make(unfinished)
        hashes = {name: _sha256(unfinished / name) for name in _files(unfinished)}
        (unfinished / DIGEST).write_text(json.dumps(hashes, indent=1, sort_keys=True), encoding="utf-8")
        if path.exists():
            shutil.rmtree(path)
        unfinished.chmod(0o755)
        unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def damage(path: Path) -> str | None:
    """What is wrong with an entry, in a few words, or None where it is whole."""
    if not path.is_dir():
        return "no such entry"
    try:
        hashes = json.loads((path / DIGEST).read_text(encoding="utf-8"))
        names = sorted(hashes)
    except (OSError, ValueError, TypeError):
        return f"{DIGEST} is missing or broken"
    for name in names:
        if not (path / name).is_file():
            return f"{name} is missing"
        if _sha256(path / name) != hashes[name]:
            return f"{name} is damaged"
    return None


def _files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
