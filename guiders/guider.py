"""A guider is three parts: token guidance, value, search. And what it gives: a generation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import torch

from guiders.errors import GuiderError
from guiders.models.heads import check_language_model
from guiders.models.lm import LM
from guiders.models.vocab import check_same_vocabulary, first_difference
from guiders.search import Sample, Search
from guiders.token import Constraint, TokenGuide
from guiders.token.constraint import under
from guiders.token.grammar import of_settings
from guiders.value import Value


@dataclass(frozen=True)
class Guider:
    """A way to decode with guidance; every method is a configuration of the three parts.

    Args:
        base: the model that is guided.
        token: what changes the next-token distribution; None, one, or several: the shifts of additive ones
            add up, guides with a memory follow in their order.
        value: what scores a prefix or a whole response; needed by every search but `Sample`.
        search: which hypotheses live.
        constraint: what responses must look like, whatever the method: settings of `guiders.token.grammar.Grammar`, as
            ``{"json_schema": "schema.json"}``, or a `Constraint`. It comes after all token guides.

    Raises:
        GuiderError: a part is not what its place needs; a search that needs a value has none; a token guide's
            vocabulary is not the base's (said before weights are loaded).
    """

    base: LM
    token: TokenGuide | Sequence[TokenGuide] | None = None
    value: Value | None = None
    search: Search = field(default_factory=Sample)
    constraint: Constraint | Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.constraint, Mapping):
            object.__setattr__(self, "constraint", of_settings(self.constraint))
        self._check_parts()
        object.__setattr__(self, "search", self.search.of(self.base))
        if self.value is None and self.chooses:
            raise GuiderError(
                f"{type(self.search).__name__} chooses by value; set the guider's value, or search to sample"
            )
        if self.search.scores_cut_with_end and self.base.tokenizer.eos_token_id is None:
            raise GuiderError(
                f"{self.base.name}: {type(self.search).__name__} scores an end token, and there is none; use another "
                "search, as ChunkBeam"
            )
        fixed = [guide for guide in self.remembering if not getattr(guide, "revisable", False)]
        if self.search.revises and fixed:
            raise GuiderError(
                f"{type(self.search).__name__} takes tokens back, which the memory of "
                f"{type(fixed[0]).__name__} can't; use another search or leave that token guide out"
            )
        for guide in self.guides:
            if hasattr(guide, "check_base"):
                guide.check_base(self.base)
            for model in guide.models:
                check_same_vocabulary(self.base.tokenizer, model.tokenizer, self.base.name, model.name)

    def _check_parts(self) -> None:
        """Hold every part to what the decoder asks of it."""
        _check_model(self.base, "base")
        for guide in self.guides:
            _check_part(guide, "token", ("models", "state" if with_memory(guide) else "shift"))
        _check_part(self.search, "search", [name for name in vars(Search) if not name.startswith("_")])
        if self.search.scores not in ("never", "end", "boundary"):
            raise GuiderError(f"search.scores={self.search.scores!r} is unknown; choose never, end or boundary")
        if self.value is not None:
            _check_part(self.value, "value", ("scorer",))
        for place, parts in (("token", self.guides), ("value", (self.value,))):
            for part in parts:
                for model in getattr(part, "models", ()):
                    _check_model(model, f"{place} {type(part).__name__}")

    @property
    def chooses(self) -> bool:
        """Does the search choose among hypotheses by their value, and so need one?"""
        return self.search.scores != "never"

    @property
    def rows(self) -> int:
        """Hypotheses of a prompt that are decoded side by side; one leaves nothing to choose."""
        return self.search.rows

    @property
    def selects(self) -> bool:
        """Is a response more than a draw: chosen among rows, or drawn again in part?"""
        return self.search.survivors * self.search.successors > 1 or self.search.revises

    @cached_property
    def guides(self) -> tuple[TokenGuide, ...]:
        """The token guides, none, one or several."""
        some = self.token if isinstance(self.token, Sequence) else () if self.token is None else (self.token,)
        return tuple(some) if self.constraint is None else under(some, cast(Constraint, self.constraint))

    @cached_property
    def remembering(self) -> tuple[TokenGuide, ...]:
        """The token guides with a view and a memory; none of them leaves all steps capturable."""
        return tuple(guide for guide in self.guides if with_memory(guide))

    @cached_property
    def draft(self) -> int | None:
        """The place among `models` of the one whose tokens are drafts (`TokenGuide.draft`); None: none is."""
        for guide in self.guides:
            place = getattr(guide, "draft", None)
            if place is not None:
                return self.places(guide)[place]
        return None

    @cached_property
    def models(self) -> tuple[LM, ...]:
        """The models that read every token as it is drawn: the base, then the token guides', in order; each once."""
        return tuple(dict.fromkeys((self.base, *(model for guide in self.guides for model in guide.models))))

    def places(self, guide: TokenGuide) -> tuple[int, ...]:
        """Where a token guide's models stand among `models`; a guide may name the base, or another guide's model."""
        return tuple(self.models.index(model) for model in guide.models)

    @cached_property
    def _adding(self) -> tuple[tuple[TokenGuide, tuple[int, ...]], ...]:
        """The additive guides and where their models stand among `models`: asked for at every block of every step."""
        return tuple((guide, self.places(guide)) for guide in self.guides if not with_memory(guide))

    @property
    def readers(self) -> tuple[LM, ...]:
        """All models that read the response's own tokens, so that each one's context bounds the response."""
        values = () if self.retokenising else self._value_models
        return tuple(dict.fromkeys((*self.models, *values)))

    @property
    def retokenising(self) -> tuple[LM, ...]:
        """The models that read the response's text in tokens of their own: a value's, where the tokenizers differ."""
        values = self._value_models
        shared = all(first_difference(self.base.tokenizer, model.tokenizer) is None for model in values)
        return () if shared else tuple(dict.fromkeys(values))

    @property
    def _value_models(self) -> tuple[LM, ...]:
        return tuple(getattr(self.value, "models", ())) if self.chooses else ()

    @cached_property
    def vocabulary(self) -> int:
        """Ids that all models which read the response have a place for."""
        return min(lm.config.vocab_size for lm in self.readers)

    def check_heads(self) -> None:
        """Is every model of the kind that its part needs? Asked once the weights may be read.

        Raises:
            GuiderError: a value model where a language model belongs, or the other way round.
        """
        check_language_model(self.base)
        parts: tuple[TokenGuide | Value | None, ...] = (*self.guides, self.value)
        for part in parts:
            if part is not None and hasattr(part, "check"):
                part.check()

    def combine(self, logits: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits ``[..., V]`` with the additive guides, from the logits of `models`.

        Tables wider than the shared vocabulary (padded to a round number) are cut to the narrowest, the value's among
        them. Half precision is widened: a difference of log-probabilities of two models would lose most of its digits.
        """
        adding = self._adding
        read = {0, *(place for _, places in adding for place in places)}
        width = min(self.vocabulary, *(logits[place].shape[-1] for place in read))
        base = logits[0][..., :width]
        base = base.float() if base.dtype in (torch.bfloat16, torch.float16) else base
        guided = base
        for guide, places in adding:
            own = [logits[place][..., :width].to(base) for place in places]
            guided = guided + _unmasked(guide.shift(*((base, *own) if with_base(guide) else own)), guided)
        return guided


def with_memory(guide: TokenGuide) -> bool:
    """Does this guide want a view and a memory? One that does not say so is additive."""
    return getattr(guide, "memory", False)


def with_base(guide: TokenGuide) -> bool:
    """Does this additive guide's shift depend on the base's logits?"""
    return getattr(guide, "with_base", False)


def _unmasked(shift: torch.Tensor, guided: torch.Tensor) -> torch.Tensor:
    """The shift, 0 where an id is masked already (minus infinity, or the type's lowest number): it stays so, although
    guides that mask it too say NaN. It is ``where(guided > lowest, shift, 0)`` in a tenth of that function's time."""
    return torch.ops.aten.threshold_backward(shift, guided, torch.finfo(guided.dtype).min)


def _check_model(model: object, place: str) -> None:
    if not isinstance(model, LM):
        raise GuiderError(f"{place} is given a {type(model).__name__}, and needs a model; load it with LM.load(PATH)")


def _check_part(part: object, place: str, asked: Sequence[str]) -> None:
    if isinstance(part, type):
        raise GuiderError(f"{place} is given the class {part.__name__}; give an object, {part.__name__}(…)")
    for name in asked:
        if not hasattr(part, name):
            raise GuiderError(
                f"{place} is given a {type(part).__name__}, which lacks {name!r}; see docs/add_a_guider.md"
            )


@dataclass(frozen=True)
class Generation:
    """A response and what it took.

    Attributes:
        index: the prompt's place among the prompts given.
        text: the response, without special tokens, cut before a stop string.
        tokens: its token ids, an end-of-text token included.
        finish_reason: "eos", "stop" (a stop string, special tokens among them), "length" (the token limit) or
            "constraint" (nothing that the constraint allows could follow).
        value: the value that chose it; None where nothing chose.
        kl: nats; the sum over steps of KL(drawn from ‖ base at the same temperature) on this response's own path.
        kl_search: nats; what this response adds to the bound of KL(search ‖ what it draws from) (`Search.divergence`);
            None where no bound is proven.
        forward_passes: token positions that the models needed for this prompt's rows: those after a row's end, and the
            prompt itself, are not counted. It doesn't depend on the batch.
        seconds: this prompt's share of the wall time.
        truncated: tokens of the prompt's beginning that were not read, as it was too long; of several models, the most.
        trace: None, or what was recorded on request (see `guiders.decoding.trace`).
        notes: what token guides say of this response (`GuideState.notes`), by name.
        log_ratio: nats; where the search chose among rows, log(this response's probability as drawn / the base's), both
            as in `kl`; None elsewhere. The mean over responses of ``kl_search + log_ratio`` bounds KL(search ‖ base),
            which no sum of `kl` does: a search chooses the path that the sum is taken on.
        log_weight: of this answer among independent answers to the prompt, where the search weighs them
            (`Search.log_weight`); None elsewhere.
        computed_passes: this prompt's share of all token positions that were computed: with the rows that had ended,
            padding and empty slots, which are computed to keep shapes static; the prompt itself not counted.
    """

    index: int
    text: str
    tokens: tuple[int, ...]
    finish_reason: str
    value: float | None
    kl: float
    kl_search: float | None
    forward_passes: int
    seconds: float
    truncated: int = 0
    trace: dict | None = None
    log_ratio: float | None = None
    computed_passes: float = 0.0
    notes: dict[str, float] = field(default_factory=dict)
    log_weight: float | None = None
