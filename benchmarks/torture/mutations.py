"""Changes to a finished run behind the harness's back: those of tests/harness/mutations.py, each by itself.

One is survived where the next run of the same command names the row, sets it aside and leaves what an undisturbed run
leaves.
"""

import json
import random
import shutil
from pathlib import Path

from benchmarks.torture.attempt import attempt
from benchmarks.torture.case import Case, drawn
from benchmarks.torture.scene import Scene, content, difference, fixtures


def cases(scenes: dict[str, Scene], count: int, seed: int, whole: Path) -> list[Case]:
    """So many changes, at most all there are.

    Args:
        whole: the finished run that is changed.
    """
    fixtures()
    import mutations

    names = drawn(list(mutations.ALL), count, seed)
    return [_case(scenes["sweep"], kind, name, whole, seed) for kind, name in names]


def _case(scene: Scene, kind: str, name: str, whole: Path, seed: int) -> Case:
    def run(folder: Path) -> str | None:
        import mutations

        run = shutil.copytree(whole, folder / "run")
        rng = random.Random(f"{seed} {kind} {name}")
        files = sorted(path for path in (run / kind).glob("*.jsonl") if path.name.startswith("best_of_n"))
        path = files[0]
        other = next(file for file in files[1:] if _keys(file) == _keys(path))
        lines = path.read_bytes().splitlines(keepends=True)
        place = rng.randrange(1, len(lines))
        after = mutations.ALL[kind, name](lines, place, other.read_bytes().splitlines(keepends=True), rng)
        path.write_bytes(b"".join(after))
        done = attempt(scene.command(run), folder)
        if done.code != 0:
            return f"the next run ends with {done.code}: {done.err[-300:]}"
        if f"{path.name}:{place + 1}: " not in done.err:
            return f"{path.name}:{place + 1} is not named: {done.err[-300:]}"
        aside = path.with_suffix(".rejected.jsonl")
        kept = [json.loads(line)["text"] for line in aside.read_text(encoding="utf-8").splitlines()]
        if after[place].decode(errors="backslashreplace").rstrip("\n") not in kept:
            return f"the changed line is not in {aside.name}"
        return difference(scene.whole, content(run))

    return Case("mutations", f"{kind}: {name}", run)


def _keys(path: Path) -> set[str]:
    return {json.loads(line)["key"] for line in path.read_text(encoding="utf-8").splitlines()}
