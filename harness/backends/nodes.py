"""What a machine of a cluster has: packages, the harness's code, models, memory; and how it differs from another."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REVISIONS = 1 << 33  # bytes of a folder up to which its files are read to compare them; above, their sizes are


@dataclass(frozen=True)
class Node:
    """A machine as it says itself.

    Attributes:
        packages: name -> version, of those that outputs depend on. code: hash of the harness's own decoding code.
        models: path -> what lies there, by content or by the files' names and sizes; None: nothing.
        memory: bytes that a process may take; None where that is not known.
    """

    host: str
    packages: dict[str, str]
    code: str
    models: dict[str, str | None]
    memory: int | None


def this_node(paths: Sequence[str]) -> Node:
    """What this machine has.

    Args:
        paths: of the models, folders alone: the hub's names are the same everywhere.
    """
    from guiders.decoding.memory import usable
    from harness.records.manifest import versions
    from harness.trials.code import decoding_code

    found = {path: _content(Path(path)) for path in paths}
    return Node(socket.gethostname(), versions(), decoding_code()["source"], found, usable("cpu", None))


def differences(first: Node, others: Sequence[Node], needed: int) -> list[str]:
    """What keeps other machines from decoding as the first one does, a line each.

    Args:
        needed: bytes of the weights that a worker loads.
    """
    lines = []
    for node in others:
        for name, version in first.packages.items():
            if (there := node.packages.get(name)) != version:
                lines.append(f"{node.host}: {name} {there or 'is not installed'}, and {version} on {first.host}")
        if node.code != first.code:
            lines.append(f"{node.host}: another version of the harness than on {first.host}")
        for path, content in first.models.items():
            if node.models.get(path) is None:
                lines.append(f"{node.host}: no model at {path}")
            elif node.models[path] != content:
                lines.append(f"{node.host}: {path} is another model than on {first.host}")
        if node.memory is not None and node.memory < needed:
            lines.append(
                f"{node.host}: {node.memory / 1e9:.1f} GB of memory, and the weights take {needed / 1e9:.1f} GB"
            )
    return lines


def _content(folder: Path) -> str | None:
    from harness.models.revision import hash_folder

    if not folder.is_dir():
        return None
    sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.is_file()}
    return hash_folder(folder, code=False) if sum(sizes.values()) <= REVISIONS else str(sizes)
