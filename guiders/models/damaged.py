"""Truncated weights, named: safetensors says what is wrong with a file, but not which file it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers.utils import cached_file

from guiders.errors import GuiderError


@contextmanager
def naming_damaged_weights(path: str | Path, revision: str | None = None) -> Iterator[None]:
    """While a model's weights are read from a folder or a hub name.

    Raises:
        GuiderError: a safetensors file that can't be read, by its name.
    """
    try:
        yield
    except SafetensorError as error:
        file = _damaged(path, revision) or path
        raise GuiderError(f"{file}: truncated or damaged ({error}); copy or download it again") from error


def _damaged(path: str | Path, revision: str | None) -> Path | None:
    """The first file of a model that safetensors refuses."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        found = cached_file(
            str(path),
            "config.json",
            revision=revision,
            local_files_only=True,
            _raise_exceptions_for_missing_entries=False,
        )
        if found is None:
            return None
        folder = Path(found).parent
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except SafetensorError:
            return file
    return None
