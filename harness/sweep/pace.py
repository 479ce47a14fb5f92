"""How fast this machine decodes with the models of a sweep, measured on a few prompts of each method."""

import time
from collections.abc import Sequence

from guiders import Sampling, generate
from harness.config.schema import Sweep
from harness.models.pool import Pool, Resolver
from harness.trials.requirements import ModelNeed
from harness.trials.trial import Setting

MOST_BYTES = 500_000_000  # of weights that are loaded for a measurement
ROWS = 64  # of a measured batch, about
TOKENS = 20  # of a measured response; a longer one takes as much longer
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
    prompts = [f"{word} film" for word in WORDS][: max(1, min(block, len(WORDS), max(4, ROWS // setting.rows)))]
    list(generate(guider, prompts[:1], Sampling(max_new_tokens=1)))  # weights are read, and caches are checked
    some = min(tokens, TOKENS)
    began = time.perf_counter()
    list(generate(guider, prompts, Sampling(temperature=1.0, max_new_tokens=some)))
    return (time.perf_counter() - began) / len(prompts) * tokens / some
