"""The backend of this process: one item after the other."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from harness.backends.protocol import Asked, Backend, Batch, Item
from harness.judges.reward_model import RewardModels

if TYPE_CHECKING:
    from guiders import Generation, Guider, Sampling


class Serial(Backend):
    """Decodes blocks and scores batches here, in the order in which they are given.

    Args:
        guider: gives the guider of a configuration; asked once per block.
        batch_tokens: most tokens in a batch's caches; None: the decoder's own choice.
        trace: whether generations tell what guidance and search did at every step.
        on_long_prompt: "error" or "truncate".
        memory: bytes that decoding may take besides the weights; None: what is there.
        rewards: the reward models that the run has already.
    """

    def __init__(
        self,
        guider: "Callable[[dict], Guider]",
        batch_tokens: int | None = None,
        trace: bool = False,
        on_long_prompt: str = "error",
        memory: int | None = None,
        rewards: RewardModels | None = None,
    ):
        self._guider, self._rewards = guider, rewards or RewardModels()
        self._options = (batch_tokens, trace, on_long_prompt, memory)

    def run(self, items: Iterable[Item]) -> Iterator[tuple[Item, list[Any]]]:
        """See `harness.backends.protocol.Backend.run`."""
        for item in items:
            if isinstance(item, Batch):
                yield item, self._rewards.of(item.model).score(item.pairs)
            else:
                guider = self._guider(item.guider)
                yield item, generations(guider, item.prompts, item.sampling, *self._options)


def generated(
    guider: "Guider",
    prompts: Sequence[Asked],
    sampling: "Sampling",
    batch_tokens: int | None = None,
    trace: bool = False,
    on_long_prompt: str = "error",
    memory: int | None = None,
) -> "Iterator[Generation]":
    """The generations of some prompts, as they are done."""
    from guiders import generate

    return generate(
        guider,
        [one.prompt for one in prompts],
        sampling,
        batch_tokens,
        trace,
        on_long_prompt=on_long_prompt,
        memory=memory,
        documents=[one.document for one in prompts],
    )


def generations(
    guider: "Guider", prompts: Sequence[Asked], sampling: "Sampling", *options: Any, **more: Any
) -> "list[Generation]":
    """The generations of some prompts, in the prompts' order. options, more: as of `generated`."""
    return sorted(generated(guider, prompts, sampling, *options, **more), key=lambda generation: generation.index)
