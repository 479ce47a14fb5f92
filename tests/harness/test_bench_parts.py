"""The profile measures from outside: it changes no answer, leaves nothing behind, and accounts for all time."""

import sys
import time

import pytest

from guiders import Guider, Sampling, generate
from guiders.decoding.beam import Beam
from guiders.kv.lane import Lane
from harness.bench.models import Models
from harness.bench.parts import PARTS, profiled
from harness.bench.settings import Bench

GRID = {"width": 2, "successors": 2, "length": 4, "n": 4, "weight": 1.0}
SAMPLING = Sampling(max_new_tokens=10, seed=3)


@pytest.fixture(scope="module")
def models():
    return Models(Bench(base="tiny"))


def answers(guider, prompts):
    return sorted((g.index, g.tokens) for g in generate(guider, prompts, SAMPLING))


def surfaces():
    modules = [module for name, module in sorted(sys.modules.items()) if name.startswith("guiders.")]
    return [dict(vars(owner)) for owner in (Lane, Beam, Guider, *modules)]


@pytest.mark.parametrize("method", ["base", "eft", "ivg", "chunk_implicit", "best_of_n_explicit"])
def test_a_profiled_run_gives_the_same_answers_and_leaves_nothing_behind(models, method):
    guider, prompts = models.guider(method, GRID), models.prompts(3, 5, 12, seed=0)
    expected, before = answers(guider, prompts), surfaces()
    with profiled(guider) as profile:
        assert surfaces() != before
        found = answers(guider, prompts)
    assert found == expected
    assert surfaces() == before
    assert set(profile.seconds) <= set(PARTS)
    assert all(seconds >= 0 for seconds in profile.seconds.values())


@pytest.mark.parametrize("method", ["ivg", "chunk_implicit", "base"])
def test_the_parts_account_for_what_other_clocks_measure(models, method):
    """A clock outside of the profile and one inside bound the sum of the parts; what the models take by clocks of their
    own is no more than what the parts with models took."""
    guider, prompts, passes, begun = models.guider(method, GRID), models.prompts(3, 5, 12, seed=0), [], []
    readers = dict.fromkeys([*guider.models, *getattr(guider.value, "models", ())])
    hooks = [lm.model.register_forward_pre_hook(lambda *_: begun.append(time.perf_counter())) for lm in readers]
    hooks += [
        lm.model.register_forward_hook(lambda *_: passes.append(time.perf_counter() - begun.pop())) for lm in readers
    ]
    try:
        outside = time.perf_counter()
        with profiled(guider) as profile:
            inside = time.perf_counter()
            answers(guider, prompts)
            inside = time.perf_counter() - inside
        outside = time.perf_counter() - outside
    finally:
        for hook in hooks:
            hook.remove()
    assert passes
    assert inside <= sum(profile.seconds.values()) <= outside
    assert sum(passes) <= sum(profile.seconds[part] for part in ("prefill", "base", "guides", "value"))
    assert sum(profile.seconds[part] for part in ("host", "sampling", "reorder")) <= outside - sum(passes)


def test_patches_go_when_decoding_fails(models):
    before = surfaces()
    with pytest.raises(ZeroDivisionError), profiled(models.guider("ivg", GRID)):
        raise ZeroDivisionError
    assert surfaces() == before


@pytest.mark.parametrize(
    ("method", "busy", "idle"),
    [
        ("ivg", {"prefill", "base", "guides", "value", "sampling", "reorder"}, set()),
        ("chunk_implicit", {"prefill", "base", "value", "sampling", "reorder"}, {"guides"}),
        ("eft", {"prefill", "base", "guides", "sampling"}, {"value"}),
        ("base", {"prefill", "base", "sampling"}, {"guides", "value"}),
    ],
)
def test_time_goes_to_the_parts_that_a_method_has(models, method, busy, idle):
    guider = models.guider(method, GRID)
    with profiled(guider) as profile:
        answers(guider, models.prompts(2, 5, 9, seed=0))
    assert all(profile.seconds[part] > 0 for part in busy)
    assert all(profile.seconds.get(part, 0) == 0 for part in idle)
    assert 0 < profile.prefill_before_first_step <= profile.before_first_step <= profile.total


def test_cache_bytes_are_the_prompts_keys_and_values_once(models):
    """GPT-2 float32: 2 tensors · 4 bytes · layers · width for every token of every prompt, whatever the rows."""
    guider = models.guider("base", GRID)
    with profiled(guider) as profile:
        answers(guider, models.prompts(3, 16, 16, seed=0))
    config = models.by_name["base"].config
    assert profile.cache_bytes["prompt"] == 2 * 4 * config.n_layer * config.n_embd * 16 * 3
