"""A guider is three parts: token guidance, value, search. And what it gives: a generation."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from guiders.errors import GuiderError
from guiders.lm import LM
from guiders.search import BestOfN, ChunkBeam, Sample
from guiders.token import Implicit, QGuidance
from guiders.value import Value
from guiders.vocab import check_same_vocabulary, first_difference


@dataclass(frozen=True)
class Guider:
    """A way to decode with guidance; every method is a configuration of the three parts.

    Args:
        base: the model that is guided.
        token: what changes the next-token distribution; None, one, or several whose shifts add up.
        value: what scores a prefix or a whole response; needed by every search but `Sample`.
        search: which hypotheses live.

    Raises:
        GuiderError: a search that needs a value has none; a token guide's vocabulary is not the base's (said before
            weights are loaded).
    """

    base: LM
    token: Implicit | QGuidance | Sequence[Implicit | QGuidance] | None = None
    value: Value | None = None
    search: Sample | BestOfN | ChunkBeam = field(default_factory=Sample)

    def __post_init__(self):
        if self.value is None and (self.search.selects or self.search.survivors > 1):
            raise GuiderError(
                f"{type(self.search).__name__} chooses by value; set the guider's value, or search to sample"
            )
        for guide in self.guides:
            for model in guide.models:
                check_same_vocabulary(self.base.tokenizer, model.tokenizer, self.base.name, model.name)

    @property
    def guides(self) -> tuple[Implicit | QGuidance, ...]:
        """The token guides, none, one or several."""
        if self.token is None:
            return ()
        return tuple(self.token) if isinstance(self.token, Sequence) else (self.token,)

    @property
    def models(self) -> tuple[LM, ...]:
        """The models that read every token as it is drawn: the base, then each token guide's, in order."""
        return (self.base, *(model for guide in self.guides for model in guide.models))

    @property
    def readers(self) -> tuple[LM, ...]:
        """All models that read the response's own tokens, so that each one's context bounds the response."""
        values = getattr(self.value, "models", ()) if self.search.selects or self.search.survivors > 1 else ()
        shared = all(first_difference(self.base.tokenizer, model.tokenizer) is None for model in values)
        return tuple(dict.fromkeys((*self.models, *(values if shared else ()))))

    def combine(self, logits: list[torch.Tensor]) -> torch.Tensor:
        """Guided logits ``[..., V]`` from the base's logits and then each token guide's models'.

        Tables wider than the shared vocabulary (padded to a round number) are cut to the narrowest. Half precision is
        widened: a difference of log-probabilities of two models would lose most of its digits.
        """
        width = min(x.shape[-1] for x in logits)
        base, *rest = (x[..., :width].to(logits[0].device) for x in logits)
        guided = base.float() if base.dtype in (torch.bfloat16, torch.float16) else base
        for guide in self.guides:
            some, rest = rest[: len(guide.models)], rest[len(guide.models) :]
            guided = guided + guide.shift(*(x.to(guided.dtype) for x in some))
        return guided


@dataclass(frozen=True)
class Generation:
    """A response and what it took.

    Attributes:
        index: the prompt's place among the prompts given.
        text: the response, without special tokens, cut before a stop string.
        tokens: its token ids, an end-of-text token included.
        finish_reason: "eos", "stop" (a stop string) or "length" (the token limit).
        value: the value that chose it; None where nothing chose.
        kl: nats; the sum over steps of KL(drawn from ‖ base at the same temperature) on this response's own path.
        kl_search: nats; the search's upper bound.
        forward_passes: token positions that any model evaluated for this prompt's rows; the prompt itself not counted.
        seconds: this prompt's share of the wall time.
        trace: None, or what was recorded on request (see `guiders.trace`).
    """

    index: int
    text: str
    tokens: tuple[int, ...]
    finish_reason: str
    value: float | None
    kl: float
    kl_search: float
    forward_passes: int
    seconds: float
    trace: dict | None = None
