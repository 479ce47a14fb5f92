"""Alternatives that are read and not kept, on every architecture, and on layers with states."""

import pytest
import torch
from tiny_models import ARCHITECTURES, TOLERANCE, VOCAB, lm, words
from transformers import AutoModelForCausalLM, Qwen3NextConfig

from guiders import LM
from guiders.kv.lane import Lane
from guiders.laws import peeks_leave_no_trace

torch.set_num_threads(1)
PROMPTS = [[1, 2, 3, 4, 5, 6, 7], [8, 9]]


def rows(seed: int, *shape: int) -> torch.Tensor:
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("shape", [(2, 1, 1), (2, 2, 2)])
def test_peeks(architecture, shape):
    peeks_leave_no_trace(lm(architecture), PROMPTS, rows(0, *shape, 7), 3, 3, TOLERANCE[architecture])


def test_peeks_of_a_model_with_recurrent_layers():
    config = Qwen3NextConfig(
        vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, linear_num_value_heads=2, linear_num_key_heads=2, linear_key_head_dim=8,
        linear_value_head_dim=8, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=8,
        shared_expert_intermediate_size=8, layer_types=["linear_attention", "full_attention"],
        max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    peeks_leave_no_trace(LM(model, words(), name="hybrid"), PROMPTS, rows(1, 2, 2, 2, 6), 3, 2, 1e-3)


@torch.inference_mode()
def test_a_peek_costs_its_positions_and_holds_nothing():
    lane = Lane(lm(), 2, 2, 3, 4)
    lane.prefill([0, 1], PROMPTS)
    lane.step(rows(2, 2, 2, 3))
    held, read = lane.cache.bytes(), lane.evaluated
    assert lane.peek(rows(3, 2, 2, 3, 5)).shape == (2, 2, 3, 5, VOCAB)
    assert lane.cache.bytes() == held
    assert lane.evaluated == read + 2 * 2 * 3 * 5
