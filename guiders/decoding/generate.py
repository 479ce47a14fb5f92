"""The one loop: guided decoding of many prompts at once.

The decoder holds P slots, one prompt each, of S surviving hypotheses with K successors: P·S·K rows that step together.
All methods run through it; they differ in their parts (`guiders.guider`). Between two boundaries (every L tokens)
nothing waits for the device; at a boundary rows are scored and selected, finished prompts leave and waiting ones enter.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from guiders.cpu.allocator import keeping_memory
from guiders.decoding.engine import Engine
from guiders.decoding.room import fitted
from guiders.errors import GuiderError
from guiders.guider import Generation, Guider
from guiders.sampling import Sampling


def generate(
    guider: Guider,
    prompts: Sequence,
    sampling: Sampling | None = None,
    batch_tokens: int | None = None,
    trace: bool = False,
    graphs: bool = False,
    on_long_prompt: str = "error",
    memory: int | None = None,
    documents: Sequence[Mapping[str, Any] | None] | None = None,
) -> Iterator[Generation]:
    """Decode every prompt with guidance; yields each as it finishes, in any order.

    A response depends on its prompt, the guider and the sampling alone: not on its batch-mates, the batch size or the
    order (rounding of floating-point sums aside). As many prompts are decoded at a time as memory is there for
    (`guiders.decoding.memory`), and where it runs out all the same, half as many. Any number of threads may
    decode: those that share a model take turns, pass by pass.

    Args:
        prompts: texts, lists of messages, or lists of token ids.
        batch_tokens: tokens that all caches of one model may hold at once (a prompt counts once, its history once per
            survivor, a chunk once per row); decides how many prompts are decoded together. Default 32,768.
        trace: record what guidance and search did at every step (slower).
        graphs: replay the steps as CUDA graphs.
        on_long_prompt: "error": prompts that leave no room for a response are all named before anything is decoded;
            "truncate": a prompt loses its beginning, so that `Sampling.max_new_tokens` fit
            (see `guiders.decoding.room`).
        memory: bytes that decoding may take besides the weights; None: what the machine, its container or the
            accelerator has left.
        documents: what each prompt comes with, for a constraint that reads a field of it; None: nothing.

    Raises:
        GuiderError: prompts that leave no room for a response or are none; a model of the wrong kind; logits or values
            that are not numbers; no memory for one prompt.
    """
    if isinstance(prompts, str):
        raise GuiderError("prompts is a single text; give a list of prompts")
    if documents is not None and len(documents) != len(prompts):
        raise GuiderError(f"{len(documents)} documents for {len(prompts)} prompts; give one for each, or None")
    sampling = sampling or Sampling()
    engine = Engine(guider, batch_tokens, trace, graphs, memory)
    for one, document in zip(
        fitted(guider, prompts, sampling, on_long_prompt), documents or [None] * len(prompts), strict=True
    ):
        engine.add_fitted(one, sampling, document)
    with keeping_memory(guider.base.device):
        while not engine.idle:
            yield from engine.step()
