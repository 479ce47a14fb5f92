"""Ways to attend with the kernels that only a GPU has: each is the decoder's own attention."""

from functools import partial

import pytest
import torch

from benchmarks.gpu import attention

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
WAYS = {
    "efficient": partial(attention.prepare_merged, partial=attention.efficient_partial),
    "flash": partial(attention.prepare_merged, partial=attention.flash_partial),
    "flex": attention.prepare_flex,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_kernel_of_the_gpu_attends_as_the_decoder_does(way):
    p = attention.problem(8, 8, 4, 128, (64, 96, 30), torch.bfloat16, torch.device("cuda"), (2, 2))
    expected = attention.prepare_segments(p.float())()
    torch.testing.assert_close(WAYS[way](p)().float(), expected, rtol=0, atol=0.02)
