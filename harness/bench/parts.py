"""Time by part, measured from outside: for the length of one run the decoder's calls are wrapped in clocks.

Nothing in the decoder knows of it, and a timed run is never a profiled one. A call's time is its own: what it calls
in turn is counted there. What no wrapped call takes is the host's.
"""

import inspect
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any, TypeVar

from guiders import Guider
from guiders.decoding.beam import Beam
from guiders.kv.lane import Lane
from guiders.kv.segments import SegmentCache
from guiders.value import Scorer, Value
from harness.bench.clocks import synchronise

T = TypeVar("T")

PARTS = ("prefill", "base", "guides", "value", "sampling", "reorder", "host")
_LANE = {"prefill": "prefill", "commit": "reorder", "keep": "reorder", "shrink": "reorder"}
_SCORER = {"admit": "prefill", "score": "value", "commit": "reorder", "keep": "reorder", "passes": "host"}
_READING = ("response", "responses")


class Profile:
    """What one run took, by part.

    Attributes:
        seconds: by part; sums to `total`.
        calls: by (part, function).
        before_first_step: seconds from the call to the first decoding step; prefill: of these, inside prefill.
        cache_bytes: most bytes held by each segment of all caches together.
    """

    def __init__(self, guider: Guider, clock: str):
        self.device = guider.base.device
        self._now = time.perf_counter if clock == "wall" else time.process_time
        self._roles = {id(lm): "guides" for guide in guider.guides for lm in guide.models}
        self._roles[id(guider.base)] = "base"
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0.0])
        self.before_first_step: float | None = None
        self.prefill_before_first_step = 0.0
        self.cache_bytes: dict[str, int] = {}
        self.total = 0.0
        self._caches: dict[int, SegmentCache] = {}
        self._inner = [0.0]
        self._start = 0.0

    @contextmanager
    def run(self) -> Iterator["Profile"]:
        """Measure what happens inside."""
        self._start = self._time()
        try:
            yield self
        finally:
            self.total = self._time() - self._start
            self.seconds["host"] = self.total - sum(t for part, t in self.seconds.items() if part != "host")

    def call(self, part: str, name: str, function: Callable[..., T], arguments: tuple, options: dict) -> T:
        """Call a function on a part's account."""
        self._inner.append(0.0)
        begun = self._time()
        try:
            return function(*arguments, **options)
        finally:
            took = self._time() - begun
            own = took - self._inner.pop()
            self._inner[-1] += took
            self.seconds[part] += own
            entry = self.calls[part, name]
            entry[0] += 1
            entry[1] += own

    def lane(self, name: str, lane: Lane) -> str:
        """The part of a lane's call; looks at caches and at the first step on the way."""
        part = _LANE.get(name) or self._roles.get(id(lane.lm), "value")
        if part in ("base", "guides", "value") and self.before_first_step is None:
            self.before_first_step = self._time() - self._start
            self.prefill_before_first_step = self.seconds["prefill"]
        self._caches[id(lane.cache)] = lane.cache
        if part == "reorder":
            self.look_at_caches()
        return part

    def look_at_caches(self) -> None:
        """Note what the caches hold now."""
        now: dict[str, int] = defaultdict(int)
        for cache in self._caches.values():
            for segment, held in cache.bytes().items():
                now[segment] += held
        self.cache_bytes = {name: max(held, self.cache_bytes.get(name, 0)) for name, held in now.items()}

    def _time(self) -> float:
        synchronise(self.device)
        return self._now()


@contextmanager
def profiled(guider: Guider, clock: str = "wall") -> Iterator[Profile]:
    """A `Profile` of the decoding inside the block.

    Args:
        clock: "wall" or "cpu". On a GPU every wrapped call waits for the device.
    """
    profile = Profile(guider, clock)
    patches: list[tuple[object, str, object]] = []

    def patch(owner: Any, name: str, part: str | Callable[[tuple], str]) -> None:
        function = inspect.getattr_static(owner, name)
        patches.append((owner, name, function))
        static = isinstance(function, staticmethod)
        plain = function.__func__ if static else function

        def wrapper(*arguments: Any, **options: Any) -> Any:
            where = part if isinstance(part, str) else part(arguments)
            return profile.call(where, name, plain, arguments, options)

        setattr(owner, name, staticmethod(wrapper) if static else wrapper)

    for name in _public(Lane):
        patch(Lane, name, partial(_of_lane, profile, name))
    for name in _public(Beam):
        patch(Beam, name, "host" if name in _READING else "reorder")
    patch(type(guider.search), "select", "reorder")
    patch(Guider, "combine", "sampling")
    for module in [m for name, m in sys.modules.items() if name.startswith("guiders.") and m is not None]:
        for name, function in list(vars(module).items()):
            if inspect.isfunction(function) and _draws(module, name, function):
                patch(module, name, "sampling")
    if guider.value is not None:
        _patch_scorer(guider, profile, patches)
    try:
        with profile.run():
            yield profile
        profile.look_at_caches()
    finally:
        for owner, name, function in reversed(patches):
            setattr(owner, name, function)


def _of_lane(profile: Profile, name: str, arguments: tuple) -> str:
    return profile.lane(name, arguments[0])


def _public(owner: type) -> list[str]:
    return [n for n, f in vars(owner).items() if not n.startswith("_") and inspect.isfunction(f)]


def _draws(module: ModuleType, name: str, function: Callable) -> bool:
    """Whether this is a use of a sampling function outside the module that defines it."""
    if module.__name__ == "guiders.laws.oracle":
        return False
    elsewhere = function.__module__ != module.__name__
    return elsewhere and function.__module__ in ("guiders.sampling", "guiders.decoding.next_token")


def _patch_scorer(guider: Guider, profile: Profile, patches: list) -> None:
    """Every scorer that the value makes is wrapped as it is made."""
    owner: Any = type(guider.value)
    original = owner.scorer
    patches.append((owner, "scorer", original))

    def scorer(self: Value, *arguments: Any, **options: Any) -> Scorer:
        made = original(self, *arguments, **options)
        for name, part in _SCORER.items():
            method = getattr(made, name)

            def wrapper(*inner: Any, part: str = part, name: str = name, method: Callable = method, **more: Any) -> Any:
                return profile.call(part, f"scorer.{name}", method, inner, more)

            setattr(made, name, wrapper)
        return made

    owner.scorer = scorer
