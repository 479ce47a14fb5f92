"""SIGKILL at the changes that a run makes to its files, within writes too, and at random moments; some twice.

A kill is survived where the same command, run again, leaves what an undisturbed run leaves: the same rows, the same
report, and no half-written file.
"""

import random
from pathlib import Path

from benchmarks.torture import events
from benchmarks.torture.attempt import attempt
from benchmarks.torture.case import Case, drawn
from benchmarks.torture.scene import Scene

SHARES = {"sweep": 0.5, "mend": 0.3, "tax": 0.2}  # of the kills
MOMENTS = 0.25  # of a scene's kills that are at a random moment; the others are at an event
TWICE = 4  # every fourth kill is followed by another one


def cases(scenes: dict[str, Scene], count: int, seed: int) -> list[Case]:
    """So many kills."""
    found = []
    for name, share in SHARES.items():
        scene, rng = scenes[name], random.Random(f"{seed} {name}")
        wanted = max(1, round(count * share))
        moments = round(wanted * MOMENTS)
        changes = [place for place, kind in enumerate(scene.kinds) if kind != "read"]
        for number, place in enumerate(drawn(changes, wanted - moments, seed)):
            again = rng.choice(changes) if number % TWICE == 0 else None
            found.append(_at_event(scene, place, again))
        found += [_at_moment(scene, round(rng.random(), 3)) for _ in range(moments)]
    return found


def _at_event(scene: Scene, place: int, again: int | None) -> Case:
    def run(folder: Path) -> str | None:
        run = scene.prepare(folder / "attempt")
        for number in (place, again):
            if number is not None:
                before = lambda number=number: events.install(run, events.killed_at(number))  # noqa: E731
                done = attempt(scene.command(run), run.parent, before)
                if done.hung or (number == place and done.code != -9):
                    return f"the process ends with {done.code} where it was to be killed: {done.err[-300:]}"
        return scene.finish(run)

    then = "" if again is None else f", then event {again}"
    return Case("kills", f"{scene.name}: event {place} ({scene.kinds[place]}){then}", run)


def _at_moment(scene: Scene, share: float) -> Case:
    def run(folder: Path) -> str | None:
        run = scene.prepare(folder / "attempt")
        attempt(scene.command(run), run.parent, kill_after=share * scene.seconds)
        return scene.finish(run)

    return Case("kills", f"{scene.name}: after {share:.3f} of its time", run)
