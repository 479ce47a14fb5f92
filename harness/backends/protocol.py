"""What a backend is: blocks of prompts in, their generations out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from guiders import Generation, Sampling


@dataclass(frozen=True)
class Asked:
    """A request's prompt.

    Attributes:
        text: what it is known by: the user's message where a chat consists of nothing else, else the whole text.
        prompt: what the guider is asked: the text, or the chat's messages, which each model puts into its own template.
        wrapped: the prompt in the template of a prompt step (`harness.config.prompt_step`); None without one.
        document: the field of the task's document that the guider's constraint reads; None where it reads none.
    """

    text: str
    prompt: str | list[dict[str, str]]
    wrapped: str | None = None
    document: dict[str, Any] | None = None


@dataclass(frozen=True)
class Block:
    """A work item: consecutive prompts of one trial that are decoded together.

    It holds plain values only, so that it can be sent to another process.

    Attributes:
        trial: the trial's id.
        guider: the guider's configuration, models as specifications (``harness.trials.trial.Setting.config``).
        start: place of the first prompt among the trial's prompts, from 0.
        prompts: the prompts, in order.
        sampling: how all of them are drawn.
    """

    trial: str
    guider: dict = field(repr=False)
    start: int
    prompts: tuple[Asked, ...] = field(repr=False)
    sampling: "Sampling"


class Backend(Protocol):
    """Decodes blocks.

    The generations of a block are a function of the block alone: neither the other blocks, nor their order, nor the
    worker changes them.
    """

    def decode(self, blocks: Iterable[Block]) -> "Iterator[tuple[Block, list[Generation]]]":
        """Every block with generations of its prompts; ``Generation.index`` is the prompt's place in the block.

        A block may come in several parts, and a generation twice, where a worker died in between. Blocks may come back
        in another order than they were given. They are drawn from the iterable as there is room
        for them: what the caller does between two results is done before the serial backend draws the next block.

        Raises:
            GuiderError: what the guider refuses, such as a prompt that fills a model's context.
        """
        ...

    def status(self) -> str:
        """Its workers and their speed, for the progress display; "" where there is nothing to say."""
        return ""

    def named(self) -> dict:
        """What it is, for the manifest; "serial" where blocks are decoded in this process."""
        return {"name": "serial"}

    def close(self) -> None:
        """End what it has started."""
        return None
