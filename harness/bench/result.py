"""The figures of a run, and the file they go to."""

import json
from dataclasses import dataclass
from pathlib import Path

from harness.records.run_folder import write_text


@dataclass(frozen=True)
class Result:
    """Attributes: figures: plain data, ready for JSON. out: the file asked for, or None."""

    figures: dict
    out: str | None

    def write(self) -> Path:
        """Write the figures; returns where."""
        settings = self.figures["settings"]
        stamp = "".join(c for c in self.figures["date"][:19] if c.isalnum())
        name = f"{settings['base']}-{settings['device'].replace(':', '')}-{stamp}.json"
        path = Path(self.out).expanduser() if self.out else Path("runs/bench") / name
        write_text(path, json.dumps(self.figures, indent=1) + "\n")
        return path
