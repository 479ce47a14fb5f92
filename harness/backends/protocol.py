"""What a backend is: blocks of prompts in, their generations out; responses in, their rewards out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from harness.errors import UserError

if TYPE_CHECKING:
    from guiders import Sampling


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

    @property
    def label(self) -> str:
        """What messages call it; no other item of a run is called so."""
        return f"{self.trial}, prompts {self.start} to {self.start + len(self.prompts) - 1}"


@dataclass(frozen=True)
class RewardModelSpec:
    """A reward model, as `harness.judges.reward_model.RewardModel` takes it; plain values.

    Attributes:
        path: a folder or a hub name. device: "cpu", "cuda". template: with {prompt} and {response}; None: the
            tokenizer's chat template, or a pair of texts without one. option: what messages call it.
    """

    path: str
    revision: str | None = None
    device: str = "cpu"
    template: str | None = None
    option: str = "judge.model"


@dataclass(frozen=True)
class Batch:
    """A work item: (prompt, response) pairs that a reward model reads in one forward pass.

    It holds plain values only, so that it can be sent to another process.

    Attributes:
        trial: the id of the trial whose responses they are, or a word for what asks.
        model: scores them.
        places: of the pairs, among all that were to be scored; the first one is in no other batch.
    """

    trial: str
    model: RewardModelSpec = field(repr=False)
    places: tuple[int, ...]
    pairs: tuple[tuple[str, str], ...] = field(repr=False)

    @property
    def label(self) -> str:
        """What messages call it; no other item of a run is called so."""
        return f"{self.trial}, {len(self.places)} rewards of {self.model.path}, that of response {self.places[0]} first"


Item = Block | Batch


class LeftOut(UserError):
    """Items that could not be worked on; told when everything else is done."""


class Backend(Protocol):
    """Decodes blocks and scores batches.

    What comes of an item is a function of the item alone: neither the other items, nor their order, nor the worker
    changes it.
    """

    def run(self, items: Iterable[Item]) -> Iterator[tuple[Item, list[Any]]]:
        """Every item with what comes of it: a block with generations of its prompts, where ``Generation.index`` is the
        prompt's place in the block; a batch with its rewards, in the pairs' order.

        A block may come in several parts, and a generation twice, where a worker died in between. Items may come back
        in another order than they were given. They are drawn from the iterable as there is room
        for them: what the caller does between two results is done before the serial backend draws the next item.

        Raises:
            GuiderError: what the guider refuses, such as a prompt that fills a model's context; what the reward model
                does.
            LeftOut: at the end, where an item was given up.
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
