"""Random numbers that belong to the row, and the cuts of the distribution."""

import pytest
import torch
from transformers import TopKLogitsWarper, TopPLogitsWarper

from guiders.sampling import Sampling, distribution, draw, philox, uniforms

# Random123's known-answer vectors (Salmon et al. 2011): counter, key, output of philox4x32-10
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN)
def test_philox_known_answers(counter, key, output):
    words = [torch.tensor([int(word, 16)]) for word in counter.split()]
    found = philox(words, tuple(int(word, 16) for word in key.split()))
    assert [f"{int(word):08x}" for word in found] == output.split()


def test_a_number_depends_on_its_own_row_alone():
    keys, rows, steps = torch.tensor([-5, 1 << 62]), torch.arange(4), torch.arange(6)
    together = uniforms(3, keys[:, None, None], rows[:, None], steps)
    for i, key in enumerate(keys):
        for j, row in enumerate(rows):
            for k, step in enumerate(steps):
                assert together[i, j, k] == uniforms(3, key, row, step)
    assert together.unique().numel() == together.numel()
    assert float(together.min()) > 0
    assert float(together.max()) < 1
    assert not torch.equal(together, uniforms(4, keys[:, None, None], rows[:, None], steps))


def test_a_purpose_has_numbers_of_its_own_and_none_has_the_seeds():
    where = (torch.arange(200)[:, None], torch.arange(5), torch.tensor(0))
    plain = uniforms(7, *where).flatten()
    assert torch.equal(uniforms(Sampling(seed=7).stream, *where).flatten(), plain)
    other = uniforms(Sampling(seed=7, purpose="baseline").stream, *where).flatten()
    assert abs(float(torch.corrcoef(torch.stack([plain, other]))[0, 1])) < 4 / 1000**0.5
    assert not torch.equal(other, uniforms(Sampling(seed=8, purpose="baseline").stream, *where).flatten())


@pytest.mark.parametrize(("top_k", "top_p"), [(5, 1.0), (0, 0.7), (6, 0.5), (1, 1.0), (0, 1e-6)])
def test_cuts_equal_transformers_warpers(top_k, top_p):
    logits = torch.randn(50, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = logits / 0.7
    if top_k:
        expected = TopKLogitsWarper(top_k)(None, expected)
    if top_p < 1:
        expected = TopPLogitsWarper(top_p)(None, expected)
    found = distribution(logits, Sampling(temperature=0.7, top_k=top_k, top_p=top_p))
    torch.testing.assert_close(found, expected.softmax(-1))


def test_draws_invert_the_distribution_function():
    probabilities = torch.tensor([0.0, 0.25, 0.0, 0.5, 0.25, 0.0], dtype=torch.float64)
    numbers = torch.tensor([1e-12, 0.2499, 0.2501, 0.7499, 0.7501, 1 - 1e-16], dtype=torch.float64)
    assert draw(probabilities, numbers).tolist() == [1, 1, 3, 3, 4, 4]
