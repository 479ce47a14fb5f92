"""A training's folder: what is done in it, what it was asked for, and that one process at a time trains there."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.errors import UserError
from harness.records.run_folder import write_text
from harness.training.log import Log


class Session:
    """``OUT/training``: settings, checkpoints and finished stages of the models that go to ``OUT``.

    Args:
        out: the folder of the trained model or models.
        settings: everything that decides the weights; a folder that holds another training's is refused.

    Raises:
        UserError: the folder cannot be written, is in use, or holds something else.
    """

    def __init__(self, out: Path, settings: dict):
        from filelock import FileLock, Timeout

        self.out, self.folder, self.settings = out, out / "training", settings
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.folder / ".lock")
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"out={out}: another process is training there; wait for it, or choose another") from None
        except OSError as error:
            raise UserError(f"out={out}: cannot be written ({error.strerror}); choose another folder") from None
        self._claim()
        self.log = Log(self.folder / "metrics.csv")

    def _claim(self) -> None:
        path = self.folder / "settings.json"
        text = json.dumps(self.settings, indent=2, sort_keys=True) + "\n"
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            if any(item.name != "training" for item in self.out.iterdir()):
                raise UserError(f"out={self.out}: not empty, and no training's; choose another folder") from None
            write_text(path, text)
            return
        if before != json.loads(text) and not self._trained():  # a training that failed before it had anything
            shutil.rmtree(self.folder / "new", ignore_errors=True)
            (self.folder / "metrics.csv").unlink(missing_ok=True)
            write_text(path, text)
        elif before != json.loads(text):
            old, new = dict(_flat(before)), dict(_flat(json.loads(text)))
            differs = next(key for key in sorted({*old, *new}) if old.get(key) != new.get(key))
            raise UserError(f"out={self.out}: holds a training with another {differs}; choose another, or remove it")

    def _trained(self) -> bool:
        """Whether anything of the training that was here is worth keeping: a model, a checkpoint, sampled rows."""
        kept = [file for file in self.out.rglob("*") if file.is_file() and self.folder / "new" not in file.parents]
        return any(file.name not in (".lock", "settings.json", "metrics.csv") for file in kept)

    def close(self) -> None:
        self._lock.release()

    def done(self, stage: str) -> dict | None:
        """The figures of a finished stage, or None."""
        path = self.folder / f"{stage}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def finish(self, stage: str, save: Callable[[Path], None], figures: dict, name: str = "") -> None:
        """Write a stage's model into ``OUT/NAME``, then its figures, whole or not at all, and drop its checkpoints."""
        part, target = self.folder / "part", self.out / name
        shutil.rmtree(part, ignore_errors=True)
        save(part)
        target.mkdir(parents=True, exist_ok=True)
        for file in part.iterdir():
            os.replace(file, target / file.name)
        part.rmdir()
        write_text(self.folder / f"{stage}.json", json.dumps(figures, indent=2, sort_keys=True) + "\n")
        shutil.rmtree(self.folder / stage, ignore_errors=True)


def _flat(settings: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
