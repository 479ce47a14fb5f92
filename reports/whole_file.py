"""Writing a file whole or not at all."""

import contextlib
import os
from pathlib import Path


def replace(path: Path, content: bytes, sync: bool = False) -> None:
    """Give a file its content in one step, so that a reader never sees half of it.

    It is written beside the file first (``.NAME.part``). Whatever lies there is removed, not written to: it may be left
    behind by a kill, or a symbolic link that leads elsewhere.

    Args:
        sync: whether the content is on the disk before the file is replaced.

    Raises:
        OSError: of the file system; nothing is left behind then.
    """
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    try:
        with open(part, "wb", opener=_new) as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def _new(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666)
