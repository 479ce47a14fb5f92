"""The backend of this process: one block after the other."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from harness.backends.protocol import Asked, Backend, Block

if TYPE_CHECKING:
    from guiders import Generation, Guider, Sampling


class Serial(Backend):
    """Decodes blocks here, in the order in which they are given.

    Args:
        guider: gives the guider of a configuration; asked once per block.
        batch_tokens: most tokens in a batch's caches; None: the decoder's own choice.
        trace: whether generations tell what guidance and search did at every step.
        on_long_prompt: "error" or "truncate".
        memory: bytes that decoding may take besides the weights; None: what is there.
    """

    def __init__(
        self,
        guider: "Callable[[dict], Guider]",
        batch_tokens: int | None = None,
        trace: bool = False,
        on_long_prompt: str = "error",
        memory: int | None = None,
    ):
        self._guider = guider
        self._options = (batch_tokens, trace, on_long_prompt, memory)

    def decode(self, blocks: Iterable[Block]) -> "Iterator[tuple[Block, list[Generation]]]":
        """See `harness.backends.protocol.Backend.decode`."""
        for block in blocks:
            guider = self._guider(block.guider)
            yield block, generations(guider, block.prompts, block.sampling, *self._options)


def generations(
    guider: "Guider",
    prompts: Sequence[Asked],
    sampling: "Sampling",
    batch_tokens: int | None = None,
    trace: bool = False,
    on_long_prompt: str = "error",
    memory: int | None = None,
) -> "list[Generation]":
    """The generations of some prompts, in the prompts' order."""
    from guiders import generate

    asked = [one.prompt for one in prompts]
    documents = [one.document for one in prompts]
    found = generate(
        guider, asked, sampling, batch_tokens, trace, on_long_prompt=on_long_prompt, memory=memory, documents=documents
    )
    return sorted(found, key=lambda generation: generation.index)
