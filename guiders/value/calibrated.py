"""A value as a share of the base's own: how many of its draws for this prompt score lower."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from guiders.errors import GuiderError
from guiders.models.lm import LM
from guiders.models.prompt import LongPrompt
from guiders.sampling import Sampling
from guiders.search import ChunkBeam
from guiders.value.part import ValuePart
from guiders.value.protocol import Chunk, Reads, Value

if TYPE_CHECKING:
    from guiders.guider import Generation, Guider


@dataclass(frozen=True)
class Calibrated(Value):
    """``C(x, y) = P(r(x, z) < r(x, y)) + P(r(x, z) = r(x, y)) / 2`` with z a draw of the base, or ``exp(t C)``
    (InfAlign, Balashankar et al. 2025, arXiv 2412.19792).

    P is the share among `n` draws of the base, which are made and scored when a prompt enters: a function of the prompt
    and these settings alone, so that a run that is resumed repeats it. The reward is then the same for all prompts in
    distribution: uniform for the base's own responses.

    Args:
        value: r. n: draws. tilt: t, or None for C itself.
        drawn: how the draws are made; it should be as the responses are drawn. Its purpose is "calibration" and the
            draw's number.

    Raises:
        GuiderError: n below 1, a tilt that is not finite; while decoding: a response that is longer than the draws may
            be.
    """

    value: Value
    n: int = 32
    tilt: float | None = None
    drawn: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        if self.n < 1:
            raise GuiderError(f"calibrated value: n={self.n} is out of range; it must be 1 or more")
        if self.tilt is not None and not math.isfinite(self.tilt):
            raise GuiderError(f"calibrated value: tilt={self.tilt} is out of range; it must be finite")
        if not hasattr(self.value, "scorer"):
            raise GuiderError(f"calibrated value: value is a {type(self.value).__name__}; give a value, as Explicit")
        if getattr(self.value, "together", False):
            raise GuiderError("calibrated value: a value of rows together has none of one draw; calibrate another one")

    @property
    def models(self) -> tuple[LM, ...]:
        return tuple(getattr(self.value, "models", ()))

    @property
    def finished(self) -> "Calibrated":
        return replace(self, value=getattr(self.value, "finished", self.value))

    def check(self) -> None:
        self.value.check()

    def reads(self, guider: "Guider") -> tuple[Reads, ...]:
        return self.value.reads(guider)

    def draws(self, guider: "Guider", prompts: Sequence[Any]) -> "list[list[Generation]]":
        """The `n` draws of every prompt, scored."""
        from guiders.decoding.generate import generate
        from guiders.guider import Guider

        if not prompts:
            return []
        alone = Guider(guider.base, value=self.value, search=ChunkBeam(1, 1, None))
        cut = [isinstance(prompt, LongPrompt) for prompt in prompts]
        asked = [prompt.prompt if isinstance(prompt, LongPrompt) else prompt for prompt in prompts]
        found: list[list[Generation]] = [[] for _ in prompts]
        for number in range(self.n):
            sampling = replace(self.drawn, purpose=f"calibration/{number}")
            long = "truncate" if any(cut) else "error"
            for one in generate(alone, asked, sampling, on_long_prompt=long):
                found[one.index].append(one)
        return found

    def share(self, rewards: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
        """The value of rewards ``[...]`` from those of the draws ``[..., n]``."""
        below, equal = (sample < rewards[..., None]).double(), (sample == rewards[..., None]).double()
        shares = (below + equal / 2).mean(-1).masked_fill(rewards.isnan(), torch.nan)
        return shares if self.tilt is None else (self.tilt * shares).exp()

    def scorer(self, guider: "Guider", slots: int, columns: int) -> "_CalibratedScorer":
        return _CalibratedScorer(self, guider, slots, columns)

    def rescore(
        self,
        guider: "Guider",
        prompt: object,
        responses: Sequence[Sequence[int]],
        ended: Sequence[bool],
        stop: Sequence[str] = (),
    ) -> list[float]:
        (draws,) = self.draws(guider, [prompt])
        over = [one.finish_reason != "length" for one in draws]
        finished = getattr(self.value, "finished", self.value)
        sample = finished.rescore(guider, prompt, [one.tokens for one in draws], over, self.drawn.stop)
        rewards = self.value.rescore(guider, prompt, responses, ended, stop)
        numbers = (torch.tensor(one, dtype=torch.float64) for one in (rewards, sample))
        return self.share(*numbers).tolist()


class _CalibratedScorer(ValuePart):
    """The value's own scorer, and every slot's sample of the base's rewards."""

    def __init__(self, value: Calibrated, guider: "Guider", slots: int, columns: int):
        super().__init__(value.value, guider, slots, columns)
        self.calibrated, self.guider = value, guider
        self.sample = torch.zeros(slots, value.n, dtype=torch.float64, device=guider.base.device)
        self.drawing = torch.zeros(slots, dtype=torch.long)  # positions that the draws needed, until they are counted
        self.computed = 0

    @property
    def evaluated(self) -> int:
        return super().evaluated + self.computed

    def admit(self, slots: list[int], prompts: list) -> None:
        super().admit(slots, prompts)
        for slot, draws in zip(slots, self.calibrated.draws(self.guider, prompts), strict=True):
            self.sample[slot] = torch.tensor([one.value for one in draws], dtype=torch.float64).to(self.sample)
            self.drawing[slot] = sum(one.forward_passes for one in draws)
            self.computed += round(sum(one.computed_passes for one in draws))

    def score(self, chunk: Chunk) -> torch.Tensor:
        limit = self.calibrated.drawn.max_new_tokens
        if bool((self.lengths[..., None] + chunk.counts > limit).any()):
            raise GuiderError(
                f"calibrated value: responses are longer than the {limit} tokens of the draws; set "
                "drawn.max_new_tokens to the limit of the responses"
            )
        return self.calibrated.share(super().score(chunk), self.sample[:, None, None])

    def keep(self, slots: torch.Tensor) -> None:
        super().keep(slots)
        self.sample, self.drawing = self.sample[slots], self.drawing[slots.cpu()]

    def passes(self, counts: torch.Tensor, survivors: torch.Tensor) -> torch.Tensor:
        drawing, self.drawing = self.drawing, torch.zeros_like(self.drawing)
        return super().passes(counts, survivors) + drawing.to(survivors)
