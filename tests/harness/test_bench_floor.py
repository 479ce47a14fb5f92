"""The benchmark's floors, against torch's own operation counter, published sizes and plain enumeration."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from guiders import ChunkBeam, Explicit, Guider, Implicit, ImplicitValue, Sampling, generate
from harness.bench.bandwidth import step_bytes, token_bytes, weight_bytes
from harness.bench.floor import matrices, multiplications, unavoidable
from harness.bench.models import Models
from harness.bench.settings import Bench

METHODS = ["base", "eft", "ivg", "chunk_implicit", "chunk_explicit", "best_of_n_implicit", "best_of_n_explicit"]


@pytest.fixture(scope="module")
def models():
    return Models(Bench(base="tiny"))


def counted(work) -> int:
    """Multiplications of the matrix products that torch executes, attention's left out."""
    with FlopCounterMode(display=False) as counter:
        work()
    return sum(n for op, n in counter.get_flop_counts()["Global"].items() if "bmm" not in str(op)) // 2


def products(work) -> int:
    """The floor's multiplications without attention's."""
    blocks, head = matrices(work.lm)
    return work.passes * (work.rows * sum(m.numel() for m in blocks) + work.heads * head.numel())


def test_sizes_are_those_published():
    """GPT-2 small has 85M weights in its blocks (12 · 12 · 768²); Mistral-7B has 7,241,732,096 in all."""
    gpt2 = Models(Bench(base="gpt2-85m", device="meta"))
    assert sum(m.numel() for m in matrices(gpt2.by_name["base"])[0]) == 12 * 12 * 768**2
    mistral = Models(Bench(base="mistral-7b", device="meta", dtype="bfloat16"))
    assert mistral.parameters()["tuned"] == mistral.parameters()["base"] == 7_241_732_096


@pytest.mark.parametrize("name", ["base", "tuned", "value"])
def test_matrices_are_what_a_forward_pass_multiplies(models, name):
    lm = models.by_name[name]
    tokens = torch.zeros(1, 7, dtype=torch.long)
    blocks, head = matrices(lm)
    expected = 7 * (sum(m.numel() for m in blocks) + head.numel())
    assert counted(lambda: lm.model(input_ids=tokens, use_cache=False)) == expected


@pytest.mark.parametrize("method", METHODS)
def test_no_decoding_takes_fewer_multiplications_than_the_floor(models, method, monkeypatch):
    """And ours, on prompts of one length, takes hardly more: what it pads or repeats would show here."""
    monkeypatch.setattr("guiders.cpu.packed.AFTER", 1 << 30)  # torch's counter doesn't know products by packed weights
    guider = models.guider(method, {"width": 2, "successors": 3, "length": 4, "n": 6, "weight": 1.0})
    prompts = models.prompts(3, 20, 20, seed=1)
    floor = sum(map(products, unavoidable(guider, [20] * 3, 12)))
    list(generate(guider, prompts, Sampling(max_new_tokens=1)))  # what is looked at once per model is not counted
    done = counted(lambda: list(generate(guider, prompts, Sampling(max_new_tokens=12))))
    assert floor <= done <= 1.1 * floor


def distinct_rows(prompt: int, new: int, search: ChunkBeam) -> tuple[int, int]:
    """Positions that a token-by-token model reads for one prompt, and the sum of their contexts, by enumeration.

    A row is a distinct prefix: the K successors of a survivor share everything up to the chunk's first token.
    """
    prefixes = {("prompt", i): i + 1 for i in range(prompt)}
    for position in range(new - 1):  # nothing follows the last token
        chunk, inside = divmod(position, search.length)
        ends_chunk = inside == search.length - 1
        for survivor in range(search.width):
            for successor in range(1 if ends_chunk else search.successors):
                prefixes["response", chunk, inside, survivor, successor] = prompt + position + 1
    return len(prefixes), sum(prefixes.values())


@pytest.mark.parametrize(("width", "successors", "length", "new"), [(1, 1, 4, 9), (3, 2, 4, 12), (2, 5, 1, 6)])
def test_every_distinct_row_and_token_is_counted_once(models, width, successors, length, new):
    by = models.by_name
    search = ChunkBeam(width, successors, length)
    guider = Guider(by["base"], value=ImplicitValue(by["tuned"], by["untuned"]), search=search)
    lengths = [5, 11]
    expected = [sum(pair) for pair in zip(*(distinct_rows(n, new, search) for n in lengths), strict=True)]
    for lm in (by["base"], by["tuned"], by["untuned"]):
        works = [w for w in unavoidable(guider, lengths, new) if w.lm is lm]
        assert [sum(w.passes * w.rows for w in works), sum(w.contexts for w in works)] == expected


def test_a_value_that_falls_out_of_the_guidance_costs_nothing(models):
    by = models.by_name
    pair = (by["tuned"], by["untuned"])
    guider = Guider(by["base"], token=Implicit(*pair), value=ImplicitValue(*pair), search=ChunkBeam(2, 2, 4))
    assert all(work.part != "value" for work in unavoidable(guider, [8], 8))


def test_attention_is_the_scores_and_the_mixing(models):
    """GPT-2: every position multiplies its width with every token it attends to, twice, in every layer."""
    lm = models.by_name["base"]
    prefill = next(iter(unavoidable(models.guider("base", {}), [9], 4)))
    assert multiplications(prefill) - products(prefill) == 2 * lm.config.n_layer * lm.config.n_embd * (9 * 10 // 2)


def test_a_step_reads_weights_once_and_every_distinct_token_once(models):
    by = models.by_name
    guider = Guider(
        by["base"],
        token=Implicit(by["tuned"], by["untuned"]),
        value=Explicit(by["value"]),
        search=ChunkBeam(width=2, successors=3, length=4),
    )
    stepping, value = [by["base"], by["tuned"], by["untuned"]], by["value"]
    total = 0
    for step in range(8):
        history, inside = step // 4 * 4, step % 4
        tokens = sum(n + 2 * history + 2 * 3 * inside for n in (5, 11))
        total += sum(weight_bytes(lm) + tokens * token_bytes(lm) for lm in stepping)
        if inside == 0:
            total += weight_bytes(value) + tokens * token_bytes(value)
    assert step_bytes(guider, [5, 11], 8) == total / 8


def test_tables_that_are_looked_up_are_not_read():
    """GPT-2's token table is its head's as well; Mistral's is not."""
    gpt2 = Models(Bench(base="gpt2-85m", device="meta")).by_name["base"]
    positions = 2048 * 768 * 4
    assert weight_bytes(gpt2) == sum(p.nbytes for p in gpt2.model.parameters()) - positions
    mistral = Models(Bench(base="mistral-7b", device="meta", dtype="bfloat16")).by_name["base"]
    assert weight_bytes(mistral) == 2 * (7_241_732_096 - 32000 * 4096)
    assert token_bytes(mistral) == 2 * 32 * 8 * 128 * 2
