"""A value of what a response may go on to say."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from guiders.errors import GuiderError
from guiders.models.heads import check_language_model
from guiders.models.lm import LM
from guiders.models.vocab import check_same_vocabulary
from guiders.sampling import Sampling
from guiders.value.protocol import Value
from guiders.value.texts import TextRow, TextsScorer, by_slot

if TYPE_CHECKING:
    from guiders.guider import Guider


@dataclass(frozen=True)
class Lookahead(Value):
    """The value of a response with what a policy goes on to write: ``agg_j V(y, τ_j)``, τ_j ~ policy (DeAL, Huang et
    al. 2025, arXiv 2402.06147).

    A response that is over is not continued: its value is V's. The rollouts depend on the prompt, the response, the
    seed and the rollout's number alone.

    Args:
        value: V, of whole texts.
        policy: who continues; None: the base. It shares the base's vocabulary.
        length: tokens of a rollout at most; 0: V itself.
        rollouts: of each response.
        temperature: of the policy; 0: greedy.
        aggregate: "mean", "max", or "log_mean_exp", the soft value ``log 1/n Σ_j exp V``.
        seed: of the rollouts.

    Raises:
        GuiderError: a setting out of range; several rollouts at temperature 0, which are all the same; a policy with
            another vocabulary than the base's.
    """

    value: Value
    policy: LM | None = None
    length: int = 16
    rollouts: int = 1
    temperature: float = 0.0
    aggregate: Literal["mean", "max", "log_mean_exp"] = "mean"
    seed: int = 0

    def __post_init__(self) -> None:
        if not hasattr(self.value, "rescore") or getattr(self.value, "together", False):
            raise GuiderError(f"lookahead: {type(self.value).__name__} has no value of one text; give one, as Explicit")
        for name, least in (("length", 0), ("rollouts", 1), ("temperature", 0.0)):
            if not least <= getattr(self, name) < math.inf:
                raise GuiderError(
                    f"lookahead: {name}={getattr(self, name)} is out of range; it must be {least} or more"
                )
        if self.aggregate not in ("mean", "max", "log_mean_exp"):
            raise GuiderError(
                f"lookahead: aggregate={self.aggregate!r} is unknown; choose one of mean, max, log_mean_exp"
            )
        if self.rollouts > 1 and self.temperature == 0:
            raise GuiderError(f"lookahead: {self.rollouts} greedy rollouts are all the same; set temperature above 0")

    @property
    def models(self) -> tuple[LM, ...]:
        return tuple(getattr(self.value, "models", ()))

    @property
    def finished(self) -> Value:
        return getattr(self.value, "finished", self.value)

    def check(self) -> None:
        self.value.check()
        if self.policy is not None:
            check_language_model(self.policy)

    def scorer(self, guider: "Guider", slots: int, columns: int) -> "_LookaheadScorer":
        policy = self.policy or guider.base
        check_same_vocabulary(guider.base.tokenizer, policy.tokenizer, guider.base.name, policy.name)
        return _LookaheadScorer(self, guider, slots)

    def rescore(
        self,
        guider: "Guider",
        prompt: object,
        responses: Sequence[Sequence[int]],
        ended: Sequence[bool],
        stop: Sequence[str] = (),
    ) -> list[float]:
        found = self.finished.rescore(guider, prompt, responses, ended, stop)
        open_ = [place for place, over in enumerate(ended) if not over]
        rolled = self.rolled_out(guider, [(prompt, list(responses[place])) for place in open_], tuple(stop))
        for place, texts in zip(open_, rolled, strict=True):
            found[place] = self.looked_ahead(guider, prompt, texts, stop)
        return found

    def rolled_out(
        self, guider: "Guider", rows: Sequence[tuple[Any, list[int]]], stop: tuple[str, ...]
    ) -> "list[Rolled]":
        """The continuations of (prompt, response tokens), all together."""
        from guiders.decoding.generate import generate
        from guiders.guider import Guider

        policy = self.policy or guider.base
        found = [Rolled([], [], 0, 0.0) for _ in rows]
        asked = [(place, policy.encode_prompt(prompt) + tokens) for place, (prompt, tokens) in enumerate(rows)]
        apart = guider.retokenising
        readers = (policy, *(model for model in self.models if model not in apart))
        most = min((lm.max_length for lm in readers), default=0)
        asked = [(place, ids) for place, ids in asked if len(ids) < most] if self.length else []
        for place in {*range(len(rows))} - {place for place, _ in asked}:
            found[place].add(rows[place][1], False)  # no room to go on
        for number in range(self.rollouts if asked else 0):
            sampling = Sampling(
                temperature=self.temperature,
                max_new_tokens=self.length,
                seed=self.seed,
                stop=stop,
                purpose=f"lookahead/{number}",
            )
            for one in generate(Guider(policy), [ids for _, ids in asked], sampling):
                place, ids = asked[one.index]
                room = most - len(ids)
                over = one.finish_reason != "length" and len(one.tokens) <= room
                found[place].add(rows[place][1] + list(one.tokens)[:room], over)
                found[place].needed += one.forward_passes + 1  # the response's last token is read for the first one
                found[place].computed += one.computed_passes + len(ids)
        return found

    def looked_ahead(self, guider: "Guider", prompt: object, rolled: "Rolled", stop: Sequence[str]) -> float:
        """The value of a response's continuations."""
        values = self.finished.rescore(guider, prompt, rolled.responses, rolled.ended, stop)
        if self.aggregate == "max":
            return max(values)
        if self.aggregate == "mean":
            return sum(values) / len(values)
        most = max(values)
        return most + math.log(sum(math.exp(value - most) for value in values) / len(values))


@dataclass
class Rolled:
    """A response with each of its continuations.

    Attributes:
        responses: tokens. ended: did each end?
        needed, computed: token positions, as of `Generation`; of computed ones, with the response's beginning, which is
            read again.
    """

    responses: list[list[int]]
    ended: list[bool]
    needed: int
    computed: float

    def add(self, response: list[int], ended: bool) -> None:
        self.responses.append(response)
        self.ended.append(ended)


class _LookaheadScorer(TextsScorer):
    """The rows of all slots roll out together."""

    def __init__(self, value: Lookahead, guider: "Guider", slots: int):
        super().__init__(guider.base, slots)
        self.value, self.guider = value, guider

    def values(self, rows: list[TextRow]) -> list[tuple[float, int]]:
        running = [row for row in rows if not row.over]
        stop = rows[0].stop
        rolled = self.value.rolled_out(self.guider, [(row.asked, row.tokens) for row in running], stop)
        by_row = {(row.slot, row.row): one for row, one in zip(running, rolled, strict=True)}
        found = []
        for some in by_slot(rows):
            whole = [row for row in some if row.over]
            over = (
                self.value.finished.rescore(
                    self.guider, some[0].asked, [row.tokens for row in whole], [row.ended for row in whole], stop
                )
                if whole
                else []
            )
            done = {row.row: value for row, value in zip(whole, over, strict=True)}
            for row in some:
                one = by_row.get((row.slot, row.row)) or Rolled([row.tokens], [row.ended], 0, 0.0)
                value = done[row.row] if row.over else self.value.looked_ahead(self.guider, row.asked, one, stop)
                read = len(self.value.models or (1,)) * sum(len(tokens) for tokens in one.responses)
                found.append((value, one.needed + read))
                self.evaluated += round(one.computed) + read
        return found
