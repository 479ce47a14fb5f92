"""Token positions: what was computed, counted at the models themselves, and what was needed."""

from contextlib import ExitStack

import pytest
import torch
from tiny_models import END, ending, lm, value

from guiders import BestOfN, ChunkBeam, Explicit, Guider, Implicit, ImplicitValue, Sampling, generate

torch.set_num_threads(1)
PROMPTS = ["ab", "hello there", "q", "a fox jumps over the log", "dog"]


def guiders() -> dict[str, Guider]:
    base, pair = ending("gpt2", 0, {1, 2, 3, END}), (lm("llama", 1), lm("gpt2", 2))
    other = (lm("qwen2", 3), lm("gpt2", 4))
    return {
        "base": Guider(base),
        "eft": Guider(base, Implicit(*pair)),
        "best of n": Guider(base, None, Explicit(value()), BestOfN(4)),
        "ivg": Guider(base, Implicit(*pair), Explicit(value("llama")), ChunkBeam(2, 3, 4)),
        "q": Guider(base, Implicit(*pair), Explicit(value("gpt2", "vocab")), ChunkBeam(2, 2, 5)),
        "two pairs": Guider(base, Implicit(*pair), ImplicitValue(*other), ChunkBeam(3, 2, 3)),
        "same pair": Guider(base, Implicit(*pair), ImplicitValue(*pair), ChunkBeam(2, 2, 4)),
        "on text": Guider(base, None, Explicit(value("gpt2", "scalar", 7, "bytes")), ChunkBeam(2, 2, 4)),
    }


@pytest.mark.parametrize("method", guiders())
@pytest.mark.parametrize("batch_tokens", [None, 300])
def test_computed_positions_are_those_that_the_models_were_given(method, batch_tokens):
    """Of all prompts together, but for the prompts' own; and a prompt needs no more than its share of them."""
    guider, sampling = guiders()[method], Sampling(max_new_tokens=14, seed=3)
    list(generate(guider, PROMPTS[:1], sampling))  # architectures are looked at once, which reads something too
    value = guider.value if guider.chooses and method != "same pair" else None
    models, given = [*guider.models, *getattr(value, "models", ())], []
    with ExitStack() as stack:
        for each in models:
            hook = each.model.register_forward_pre_hook(
                lambda module, args, kwargs: given.append(kwargs["input_ids"].numel()), with_kwargs=True
            )
            stack.callback(hook.remove)
        found = list(generate(guider, PROMPTS, sampling, batch_tokens=batch_tokens))
    prompts = sum(len(each.encode_prompt(prompt)) for each in models for prompt in PROMPTS)
    assert sum(one.computed_passes for one in found) == pytest.approx(sum(given) - prompts)
    needed = sum(one.forward_passes for one in found)
    assert 0 < needed < sum(one.computed_passes for one in found)


def test_what_is_needed_does_not_depend_on_the_batch_and_what_is_computed_does():
    guider, sampling = guiders()["best of n"], Sampling(max_new_tokens=14, seed=3)
    together = sorted(generate(guider, PROMPTS, sampling), key=lambda one: one.index)
    alone = sorted(generate(guider, PROMPTS, sampling, batch_tokens=1), key=lambda one: one.index)
    assert [one.forward_passes for one in together] == [one.forward_passes for one in alone]
    assert all(one.forward_passes <= one.computed_passes for one in together + alone)


def test_a_response_without_an_end_needs_what_is_computed():
    """One row, never ended: a step for every token but the first, which comes from the prompt."""
    (one,) = generate(Guider(lm("gpt2", 9)), ["ab"], Sampling(temperature=0, max_new_tokens=6))
    assert one.finish_reason == "length"
    assert one.forward_passes == one.computed_passes == 5
