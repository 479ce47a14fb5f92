"""Rows that were read before: a file that has not changed since is not parsed again."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path

from reports.rows import Read

BYTES = 1 << 26  # of files; their rows take about five times as much memory


class KeptRows:
    """The parsed lines of the files that were read last.

    A file is read again where its inode, size, time or the way of reading differs. Its rows are shared by all who read
    them: nobody changes one.

    Args:
        size: bytes of files that are kept at most; a larger file is read each time.
    """

    def __init__(self, size: int = BYTES):
        self.size = size
        self._kept: OrderedDict[Path, tuple[object, int, list[Read]]] = OrderedDict()

    def read(self, path: Path, how: object, parse: Callable[[], Iterable[Read]]) -> list[Read]:
        """The lines of a file, as ``parse`` reads them.

        Args:
            how: what else than the file the result depends on.
        """
        try:
            stat = path.stat()
        except FileNotFoundError:
            return []
        stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns, how)
        if path in self._kept and self._kept[path][0] == stamp:
            self._kept.move_to_end(path)
            return self._kept[path][2]
        found = list(parse())
        self._kept.pop(path, None)
        self._kept[path] = (stamp, stat.st_size, found)
        while self._kept and sum(size for _, size, _ in self._kept.values()) > self.size:
            self._kept.popitem(last=False)
        return found
