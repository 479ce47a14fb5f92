"""The one loop: guided decoding of many prompts at once.

The decoder holds P slots, one prompt each, of S surviving hypotheses with K successors: P·S·K rows that step together.
All methods run through it; they differ in their parts (`guiders.guider`). Between two boundaries (every L tokens)
nothing waits for the device; at a boundary rows are scored and selected, finished prompts leave and waiting ones enter.
"""

from collections import deque
from collections.abc import Iterator, Sequence

import torch

from guiders.cpu.allocator import keeping_memory
from guiders.decoding.decoder import Decoder, Request
from guiders.decoding.room import fitted
from guiders.errors import GuiderError
from guiders.guider import Generation, Guider
from guiders.kv.self_check import check_cacheable
from guiders.sampling import Sampling

BATCH_TOKENS = 1 << 15


def generate(
    guider: Guider,
    prompts: Sequence,
    sampling: Sampling | None = None,
    batch_tokens: int | None = None,
    trace: bool = False,
    graphs: bool = False,
    on_long_prompt: str = "error",
) -> Iterator[Generation]:
    """Decode every prompt with guidance; yields each as it finishes, in any order.

    A response depends on its prompt, the guider and the sampling alone: not on its batch-mates, the batch size or the
    order (rounding of floating-point sums aside). Running out of memory halves the batch and goes on. Any number of
    threads may decode: those that share a model take turns, pass by pass.

    Args:
        prompts: texts, lists of messages, or lists of token ids.
        batch_tokens: tokens that all caches of one model may hold at once (a prompt counts once, its history once per
            survivor, a chunk once per row); decides how many prompts are decoded together. Default 32,768.
        trace: record what guidance and search did at every step (slower).
        graphs: replay the steps as CUDA graphs.
        on_long_prompt: "error": prompts that leave no room for a response are all named before anything is decoded;
            "truncate": a prompt loses its beginning, so that `Sampling.max_new_tokens` fit
            (see `guiders.decoding.room`).

    Raises:
        GuiderError: prompts that leave no room for a response or are none; a model of the wrong kind; logits or values
            that are not numbers; no memory for one prompt.
    """
    if isinstance(prompts, str):
        raise GuiderError("prompts is a single text; give a list of prompts")
    sampling = sampling or Sampling()
    waiting: deque[Request] = deque()
    for index, one in enumerate(fitted(guider, prompts, sampling, on_long_prompt)):
        if outside := [i for i in one.ids if not 0 <= i < guider.base.config.vocab_size]:
            raise GuiderError(f"prompt {index} has the id {outside[0]}, which {guider.base.name} does not have")
        waiting.append(Request(index, one.prompt, one.ids, one.limit, one.truncated))
    if not waiting:
        return
    guider.check_heads()
    for lm in (*guider.models, *(getattr(guider.value, "models", ()) if guider.chooses else ())):
        check_cacheable(lm)
    with keeping_memory(guider.base.device):
        yield from _decode(guider, waiting, sampling, batch_tokens or BATCH_TOKENS, trace, graphs)


def _decode(guider: Guider, waiting: deque[Request], sampling, batch_tokens: int, trace, graphs):
    """Decode all that wait, in as many slots as `batch_tokens` allows, or memory."""
    search = guider.search
    columns = min(search.ends.most or sampling.max_new_tokens, sampling.max_new_tokens)
    longest = max(len(r.ids) for r in waiting)
    each = longest + search.survivors * (sampling.max_new_tokens + search.successors * columns)
    slots = max(1, min(len(waiting), batch_tokens // each))
    while waiting:
        decoder = Decoder(guider, sampling, slots, columns, trace, graphs)
        try:
            yield from decoder.run(waiting)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            if slots == 1:
                raise GuiderError(
                    "out of memory with a single prompt; use fewer rows (W·K), fewer tokens or a smaller dtype"
                ) from error
            waiting.extendleft(reversed([r for r in decoder.requests if r]))
            slots //= 2
        del decoder  # after the exception, which holds its tensors
        if waiting and torch.cuda.is_available():
            torch.cuda.empty_cache()


def _is_out_of_memory(error: RuntimeError) -> bool:
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "not enough memory" in str(error)
        or "can't allocate memory" in str(error)
    )
