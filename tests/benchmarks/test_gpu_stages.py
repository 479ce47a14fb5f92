"""The stages of `benchmarks.gpu` as far as they go without a GPU: what they compute, by other ways."""

import math

import pytest
import torch

from benchmarks.gpu import attention
from benchmarks.gpu.fast import predicted_bytes, step_multiplications
from benchmarks.gpu.lengths import PROMPT_CHARACTERS, answer_lengths, quantiles, slice_of_alpaca_eval
from benchmarks.gpu.product import outside
from benchmarks.gpu.right import Rerun, graphs_change_nothing, together_as_alone
from benchmarks.gpu.session import LENGTH, SUCCESSORS, WIDTH
from benchmarks.gpu.whole import Taken, projected
from guiders import ChunkBeam, Explicit, Guider, Implicit
from guiders.kv.lane import Lane
from harness.bench.bandwidth import chunk_bytes, step_bytes
from harness.bench.shapes import SHAPES, made

CPU, META = torch.device("cpu"), torch.device("meta")
MISTRAL, TABLE = 7_241_732_096, 32000 * 4096  # weights of Mistral-7B, and of its table of tokens
TOKEN = 2 * 32 * 8 * 128 * 2  # bytes: keys and values, layers, heads, width, half precision


@pytest.fixture(scope="module")
def mistral():
    models = made(SHAPES["mistral-7b"], torch.bfloat16, META)
    pair = Implicit(models["tuned"], models["untuned"], 1.0)
    return Guider(models["base"], pair, Explicit(models["value"]), ChunkBeam(WIDTH, SUCCESSORS, LENGTH))


def by_rows(p: attention.Problem) -> torch.Tensor:
    """Every row alone: a softmax over the keys that it sees, in float64."""
    output = torch.zeros(p.query.shape, dtype=torch.float64)
    slots, heads, survivors, successors, groups, width = p.query.shape
    for a in range(slots):
        t, ends = int(p.prompt_lengths[a]), p.history_lengths[a]
        for h in range(heads):
            for s in range(survivors):
                for k in range(successors):
                    keys, values = (
                        torch.cat([p.prompt[i][a, h, :t], p.history[i][a, h, s, : ends[s]], p.chunk[i][a, h, s, k]])
                        for i in (0, 1)
                    )
                    for g in range(groups):
                        scores = keys.double() @ p.query[a, h, s, k, g].double() / math.sqrt(width)
                        output[a, h, s, k, g] = scores.softmax(-1) @ values.double()
    return output


@pytest.mark.parametrize("way", ["segments", "copies", "merged", "flex"])
def test_every_way_to_attend_is_that_of_each_row_alone(way, monkeypatch):
    p = attention.problem(3, 2, 2, 16, (9, 7, 5), torch.float32, CPU, (2, 3))
    if way == "flex":  # as it is written, not compiled
        monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    ways = {
        "segments": attention.prepare_segments,
        "copies": attention.prepare_copies,
        "merged": lambda p: attention.prepare_merged(p, attention.plain_partial),
        "flex": attention.prepare_flex,
    }
    found = ways[way](p)()
    assert found.shape == p.query.shape
    torch.testing.assert_close(found.double(), by_rows(p), rtol=0, atol=1e-5)


def test_a_step_of_7b_reads_three_models_and_a_thirtieth_of_a_value(mistral):
    """No table of tokens is read but the rows of the step's tokens; one prompt of 64 tokens, two histories of 90, and
    0 to 29 tokens of each of four rows."""
    value = 2 * (MISTRAL - 2 * TABLE) + 2 * (4096 + 1)  # a head of one number and its bias in place of the vocabulary's
    steps = 3 * sum(2 * (MISTRAL - TABLE) + (64 + 2 * 90 + 4 * inside) * TOKEN for inside in range(LENGTH))
    assert chunk_bytes(mistral, [64], 90, LENGTH) == steps + value + (64 + 2 * 90) * TOKEN


def test_the_mean_step_is_the_mean_over_chunks(mistral):
    whole = sum(chunk_bytes(mistral, [64, 10], start, size) for start, size in ((0, 30), (30, 30), (60, 7)))
    assert step_bytes(mistral, [64, 10], 67) == whole / 67


def test_multiplications_of_a_step(mistral):
    """A weight matrix is multiplied once for each row; norms and the table of tokens are none (Mistral-7B has 65 norms
    of 4,096)."""
    matrices = MISTRAL - TABLE - 65 * 4096
    assert step_multiplications(mistral, 2) == 2 * 4 * (3 * matrices + matrices - TABLE)


def test_predicted_memory_is_what_the_tensors_hold(mistral):
    """On the meta device: weights, and the caches after a chunk of two prompts in one step, logits left out."""
    lengths, size = [64, 64], LENGTH
    held = 0
    with torch.inference_mode():
        for lm in dict.fromkeys((*mistral.models, *mistral.value.models)):
            lane = Lane(lm, 2, WIDTH, SUCCESSORS, size)
            lane.prefill([0, 1], [[1] * n for n in lengths])
            lane.consume(torch.zeros(2, WIDTH, SUCCESSORS, size, dtype=torch.long, device=META))
            held += sum(lane.cache.bytes().values()) + sum(p.nbytes for p in lm.model.parameters())
    logits = 2 * 4 * 32000 * (2 * 3 + 3 * 4)
    assert predicted_bytes(mistral, lengths, 0) - logits == held


def test_a_projection_of_equal_prompts_is_exact():
    """Ten prompts of five chunks in two slots, a second a chunk of both: 25 s for ten, and 250 for a hundred."""
    taken = [Taken(1.0, 2, 10 - 2 * (i // 5)) for i in range(25)]
    assert projected(taken, 10, 50, total=10) == pytest.approx(25)
    assert projected(taken, 10, 50, total=100) == pytest.approx(250)


def test_slots_that_run_empty_at_the_end_count_once():
    """Then one prompt goes on alone for 3 of its chunks, half a second each; a tenfold run has that once."""
    busy, alone = [Taken(1.0, 2, 5)] * 20, [Taken(0.5, 1, 0)] * 3
    assert projected(busy + alone, 8, 43, total=80) == pytest.approx((430 - 3) / 2 + 1.5)


def test_quantiles_lie_on_the_table():
    assert quantiles((0,) * 15 + (1,), 100)[-1] == pytest.approx((0.995 - 0.99) / 0.01)
    assert quantiles(PROMPT_CHARACTERS, 1) == [100]
    mean = sum(quantiles(PROMPT_CHARACTERS, 805)) / 805
    assert mean == pytest.approx(132_764 / 805, rel=0.05)  # characters of the 805 instructions, as published
    assert max(answer_lengths(805)) == 512


def test_a_slice_has_the_lengths_in_an_order_of_their_own():
    asked = slice_of_alpaca_eval(64, 100)
    assert sorted(n for _, n in asked) == answer_lengths(64) != [n for _, n in asked]
    assert all(0 <= token < 100 for prompt, _ in asked for token in prompt)


def test_steps_replayed_change_nothing():
    seen = graphs_change_nothing("eft", "gpt2", torch.bfloat16, CPU)
    assert seen["replays"] > 5 * seen["captures"] > 0
    assert seen["shapes"] > 1


def test_a_replay_that_writes_at_the_column_it_was_captured_at_is_refused(monkeypatch):
    def stale(self):
        column = int(self.taken.column)

        def replay():
            self.taken.column.fill_(column)
            self.eager()

        return replay

    right = Rerun.capture
    monkeypatch.setattr(Rerun, "capture", lambda self: stale(self) if type(self) is not Rerun else right(self))
    with pytest.raises(AssertionError, match="differ"):
        graphs_change_nothing("eft", "gpt2", torch.float32, CPU)


def test_together_as_alone():
    assert together_as_alone("eft", "gpt2", CPU, 6)["prompts"] == 6


def test_figures_outside_an_interval_are_named():
    def row(mean, low, high):
        return {"method": "eft", "settings": {"weight": 1}, "kl": {"mean": mean, "low": low, "high": high}}

    assert outside([row(1.5, 1, 2)], [row(1.2, 1, 1.6)]) == {"figures": 1, "outside": []}
    (found,) = outside([row(1.7, 1, 2)], [row(1.2, 1, 1.6)])["outside"]
    assert found["metric"] == "kl"
    with pytest.raises(RuntimeError, match="other settings"):
        outside([row(1, 1, 1)], [])
