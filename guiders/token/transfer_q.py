"""Transfer Q*: each of the base's k likeliest tokens is worth what an aligned model earns from there."""

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from guiders.errors import GuiderError
from guiders.kv.full_logits import full_logits
from guiders.models.heads import check_language_model, check_value_model
from guiders.models.lm import LM
from guiders.models.vocab import check_same_vocabulary
from guiders.sampling import Sampling
from guiders.token.protocol import GuideState, TokenGuide, View
from guiders.token.top_k import check_k, check_within, likeliest, only

if TYPE_CHECKING:
    from guiders.guider import Guider


@dataclass(frozen=True)
class TransferQ(TokenGuide):
    """``log π_g(v) = log_softmax(logits_π(v) + E_ρ[r(y<t, v, τ)] / α)`` on the base's k likeliest ids, 0 elsewhere; τ
    continues the text by an aligned model ρ (Chakraborty et al. 2024, arXiv 2405.20495).

    The expectation is a mean of rollouts, which depend on the text, the seed and their number alone. With ``soft`` it
    is ``α log E exp(r/α)``: over rollouts of the base itself, to their ends, that tends to the optimal policy of r
    regularised by α KL. Rollouts of length 0 are `ARGS`.

    Args:
        model: r, a value model with a scalar head. policy: ρ. alpha: α. k: as of `ARGS`.
        length: tokens of a rollout at most. rollouts: of each alternative. temperature, seed: of the rollouts.
        soft: see above.

    Raises:
        GuiderError: a setting out of range; other vocabularies than the base's; once the weights are read, a model of
            another kind.
    """

    model: LM
    policy: LM
    alpha: float = 1.0
    k: int | None = 10
    length: int = 20
    rollouts: int = 1
    temperature: float = 1.0
    soft: bool = False
    seed: int = 0
    on: bool = field(default=True, kw_only=True)
    memory = True

    def __post_init__(self) -> None:
        check_k(self.k)
        checks = {
            "alpha": (math.isfinite(self.alpha) and self.alpha > 0, "above 0"),
            "length": (self.length >= 0, "0 or more"),
            "rollouts": (self.rollouts >= 1, "1 or more"),
            "temperature": (math.isfinite(self.temperature) and self.temperature >= 0, "0 or more"),
        }
        for name, (fine, must) in checks.items():
            if not fine:
                raise GuiderError(f"transfer Q*: {name}={getattr(self, name)} is out of range; it must be {must}")

    def check_base(self, base: LM) -> None:
        for other in (self.model, self.policy):
            check_same_vocabulary(base.tokenizer, other.tokenizer, base.name, other.name)

    def check(self) -> None:
        check_language_model(self.policy)
        check_value_model(self.model)
        if self.model.model.kind != "scalar":
            raise GuiderError(f"{self.model.name}: transfer Q* needs a scalar value head")

    def off(self) -> "TransferQ":
        """The base."""
        return replace(self, on=False)

    def state(self, guider: "Guider", slots: int) -> GuideState:
        check_within(self.k, guider.vocabulary)
        return _State(self, guider, slots)


class _State(GuideState):
    def __init__(self, settings: TransferQ, guider: "Guider", slots: int):
        self.settings, self.guider = settings, guider
        self.prompts: list = [None] * slots
        self.needed = torch.zeros(slots, dtype=torch.long)
        self.evaluated = 0

    def admit(self, slots: list[int], prompts: list) -> None:
        for slot, prompt in zip(slots, prompts, strict=True):
            self.prompts[slot] = prompt

    def guide(self, view: View) -> torch.Tensor:
        if not self.settings.on:
            return view.guided
        ids = likeliest(view.base, self.settings.k)
        tokens, lengths = (x.tolist() for x in view.tokens())
        places = view.running.nonzero().tolist()
        asked = [(p, tokens[p][s][k][: lengths[p][s][k]], v) for p, s, k in places for v in ids[p, s, k].tolist()]
        found = torch.zeros(ids.shape, dtype=torch.float64, device=ids.device)
        if places:
            found[view.running] = found.new_tensor(self._worth(asked)).view(len(places), -1)
        return only(ids, view.guided.gather(-1, ids) + found.to(view.guided) / self.settings.alpha, view.guided)

    def _worth(self, asked: list[tuple[int, list[int], int]]) -> list[float]:
        """The expected reward of every (slot, response, next token)."""
        alpha, rounds = self.settings.alpha, self.settings.rollouts if self.settings.length else 1
        rewards = torch.tensor([self._rewards(asked, number) for number in range(rounds)], dtype=torch.float64)
        if self.settings.soft:
            return (alpha * ((rewards / alpha).logsumexp(0) - math.log(rounds))).tolist()
        return rewards.mean(0).tolist()

    def _rewards(self, asked: list[tuple[int, list[int], int]], number: int) -> list[float]:
        """The rewards of one continuation each."""
        model = self.settings.model
        tails = self._continued(asked, number)
        texts = []
        for (slot, response, token), tail in zip(asked, tails, strict=True):
            text = [*model.encode_prompt(self.prompts[slot]), *response, token, *tail]
            texts.append(text[-model.max_length :])
            self.needed[slot] += 1 + len(tail)
            self.evaluated += len(texts[-1])
        rewards = dict(full_logits(model, texts))
        return [float(rewards[index][-1, 0]) for index in range(len(texts))]

    def _continued(self, asked: list[tuple[int, list[int], int]], number: int) -> list[list[int]]:
        """A continuation of each by ρ; none where the text has ended, or fills ρ's context."""
        from guiders.decoding.generate import generate
        from guiders.guider import Guider

        settings, policy = self.settings, self.settings.policy
        tails: list[list[int]] = [[] for _ in asked]
        open_, texts = [], []
        for place, (slot, response, token) in enumerate(asked if settings.length else []):
            text = [*policy.encode_prompt(self.prompts[slot]), *response, token]
            if token not in self.guider.base.eos_ids and len(text) < policy.max_length:
                open_.append(place)
                texts.append(text)
        sampling = Sampling(
            temperature=settings.temperature,
            max_new_tokens=max(1, settings.length),
            seed=settings.seed,
            purpose=f"rollout/{number}",
        )
        for one in generate(Guider(policy), texts, sampling) if texts else ():
            place = open_[one.index]
            tails[place] = list(one.tokens)
            self.needed[asked[place][0]] += 1 + one.forward_passes
            self.evaluated += len(texts[one.index]) + round(one.computed_passes)
        return tails

    def keep(self, slots: torch.Tensor) -> None:
        self.prompts, self.needed = [self.prompts[slot] for slot in slots.tolist()], self.needed[slots.cpu()]

    def passes(self, counts: torch.Tensor, survivors: torch.Tensor) -> torch.Tensor:
        needed, self.needed = self.needed.to(survivors.device), torch.zeros_like(self.needed)
        return needed
