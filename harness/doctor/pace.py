"""How fast this machine decodes with the models of a sweep, measured on a few prompts of each method."""

import time
from collections.abc import Sequence

from guiders import Sampling, generate
from harness.config.schema import Sweep
from harness.models.pool import Pool, Resolver
from harness.trials.requirements import ModelNeed
from harness.trials.trial import Setting

MOST_BYTES = 500_000_000  # of weights that are loaded for a measurement
ROWS = 256  # of a measured batch, about: fewer cost more each than the blocks of a sweep do
TOKENS = 20  # of a measured response; a longer one takes as much longer
TIMES = 2  # each method is measured; the shorter time counts, as another process may have been in the way
NOUNS = ("film", "story", "actor")
WORDS = (
    "The",
    "A",
    "My",
    "This",
    "One",
    "Her",
    "His",
    "Our",
    "Last",
    "Every",
    "No",
    "Some",
    "Two",
    "Most",
    "All",
    "Few",
)

Pace = dict[tuple[str, int], float]


def measured(sweep: Sweep, settings: Sequence[Setting], needs: Sequence[ModelNeed], tokens: int) -> Pace | None:
    """(method, rows) -> seconds of one response of `tokens` tokens, decoded in a batch as a sweep does.

    Returns:
        None where a model is not on this machine, or all of them are too large to be loaded for a measurement.
    """
    there = all(need.where in ("embedded", "folder", "cached") for need in needs)
    if not there or sum(need.memory or MOST_BYTES for need in needs) > MOST_BYTES:
        return None
    pool, found = Pool(Resolver(build=False), sweep.device), {}
    for setting in settings:
        if (setting.method, setting.rows) not in found:
            found[setting.method, setting.rows] = _seconds(pool, setting, tokens, sweep.block)
    return found


def _seconds(pool: Pool, setting: Setting, tokens: int, block: int) -> float:
    guider = pool.guider(setting.config)
    several = max(1, min(block, max(4, ROWS // setting.rows)))
    prompts = [f"{word} {noun}" for noun in NOUNS for word in WORDS][:several]
    list(generate(guider, prompts[:1], Sampling(max_new_tokens=1)))  # weights are read, and caches are checked
    some, took = min(tokens, TOKENS), []
    for _ in range(TIMES):
        began = time.perf_counter()
        list(generate(guider, prompts, Sampling(temperature=1.0, max_new_tokens=some)))
        took.append(time.perf_counter() - began)
    return min(took) / len(prompts) * tokens / some
