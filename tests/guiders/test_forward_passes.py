"""`Generation.forward_passes` counted by hand and by watching the models: the cost column of every report.

Nothing ends before the limit here, so that every count has a closed form. With T new tokens a sampled row needs T − 1
positions of each model that steps: the first token comes from the prompt, and the last one is never read. A chunk beam
of m chunks of L tokens reads L − 1 positions of each of its W·K rows a chunk, and at each of the m − 1 boundaries
between them the last token of each of the W survivors once. A scalar value reads all L tokens of every row; a
full-vocabulary value looks one position earlier, so that it reads what a stepping model does.
"""

from contextlib import ExitStack

import pytest
import torch
from tiny_models import ending, lm, value

from guiders import LM, BestOfN, ChunkBeam, Explicit, Guider, Implicit, ImplicitValue, Sampling, generate

torch.set_num_threads(1)
PROMPTS = ["ab c", "def", "a"]
T, W, K, L, N = 12, 2, 3, 4, 5
M = T // L
BEAM_STEPS = M * W * K * (L - 1) + (M - 1) * W  # positions of one stepping model
TUNED, UNTUNED = lm("llama", 3), lm("gpt2", 4)
SCALAR, VOCAB = value("gpt2", "scalar"), value("mistral", "vocab")
EFT = Implicit(TUNED, UNTUNED, weight=0.5)


def endless() -> LM:
    made = ending("gpt2", 0, set())
    made.__dict__["eos_ids"] = ()
    return made


BASE = endless()
CASES = {
    "base": (Guider(BASE), T - 1),
    "eft": (Guider(BASE, token=EFT), 3 * (T - 1)),
    "best of n, explicit": (Guider(BASE, value=Explicit(SCALAR), search=BestOfN(N)), N * (T - 1) + N * T),
    "best of n, implicit": (Guider(BASE, value=ImplicitValue(TUNED, UNTUNED), search=BestOfN(N)), 3 * N * (T - 1)),
    "beam, explicit": (Guider(BASE, value=Explicit(SCALAR), search=ChunkBeam(W, K, L)), BEAM_STEPS + M * W * K * L),
    "beam, vocabulary": (Guider(BASE, value=Explicit(VOCAB), search=ChunkBeam(W, K, L)), 2 * BEAM_STEPS),
    "ivg": (
        Guider(BASE, token=EFT, value=Explicit(SCALAR), search=ChunkBeam(W, K, L)),
        3 * BEAM_STEPS + M * W * K * L,
    ),
    # the value is read off the guidance: nothing is evaluated for it
    "ivg, implicit": (
        Guider(BASE, token=EFT, value=ImplicitValue(TUNED, UNTUNED), search=ChunkBeam(W, K, L)),
        3 * BEAM_STEPS,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_forward_passes_are_the_count_by_hand(name):
    guider, by_hand = CASES[name]
    found = list(generate(guider, PROMPTS, Sampling(max_new_tokens=T)))
    assert [len(one.tokens) for one in found] == [T] * len(PROMPTS)
    assert [one.forward_passes for one in found] == [by_hand] * len(PROMPTS)


@pytest.mark.parametrize("name", CASES)
def test_forward_passes_are_the_positions_that_the_models_were_given(name):
    guider, _ = CASES[name]
    models = {id(model): model for model in (BASE, TUNED, UNTUNED, SCALAR, VOCAB)}
    list(generate(guider, PROMPTS, Sampling(max_new_tokens=1)))  # what is looked at once per model is not counted
    given = dict.fromkeys(models, 0)

    def watch(key: int):
        def hook(module, arguments, kwargs):
            given[key] += kwargs["input_ids"].numel()

        return hook

    with ExitStack() as stack:
        for key, model in models.items():
            handle = model.model.register_forward_pre_hook(watch(key), with_kwargs=True)
            stack.callback(handle.remove)
        found = list(generate(guider, PROMPTS, Sampling(max_new_tokens=T)))
    prompts = sum(len(model.encode_prompt(p)) for key, model in models.items() if given[key] for p in PROMPTS)
    assert sum(one.forward_passes for one in found) == sum(given.values()) - prompts
