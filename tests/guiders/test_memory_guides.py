"""Token guides with a view and a memory, each written as a user would from docs/add_a_guider.md alone."""

from dataclasses import dataclass, replace

import pytest
import torch
from test_oracle import assert_same
from tiny_models import VOCAB, ending, lm, value

from guiders import (
    LM,
    BestOfN,
    ChunkBeam,
    Explicit,
    Guider,
    GuiderError,
    Implicit,
    ImplicitValue,
    Sample,
    Sampling,
    generate,
    laws,
    token_log_probs,
)
from guiders.laws.oracle import naive_generate
from guiders.token import GuideState, TokenGuide

torch.set_num_threads(1)
PROMPTS, SAMPLING = ["ab", "hello there", "q"], Sampling(max_new_tokens=8, seed=3, temperature=0.9)
PAIR = (lm("llama", 3), lm("gpt2", 4))


@dataclass(frozen=True)
class Penalty(TokenGuide):
    """Logits of ids among the last `window` tokens: divided by theta where above 0, multiplied below."""

    theta: float = 1.5
    window: int = 4
    memory = True

    def off(self):
        return replace(self, theta=1.0)

    def state(self, guider, slots):
        return _Penalty(self)


@dataclass
class _Penalty(GuideState):
    settings: Penalty

    def guide(self, view):
        tokens, lengths = view.tokens()
        place = torch.arange(tokens.shape[-1], device=tokens.device)
        recent = (place < lengths[..., None]) & (place >= lengths[..., None] - self.settings.window)
        seen = torch.zeros_like(view.guided).scatter_add(-1, tokens, recent.to(view.guided)) > 0
        theta = self.settings.theta
        return torch.where(seen, torch.where(view.guided > 0, view.guided / theta, view.guided * theta), view.guided)


@dataclass(frozen=True)
class Frequency(TokenGuide):
    """−alpha for every time that an id came before; counts are kept, and follow the beam."""

    alpha: float = 0.7
    memory = True

    def off(self):
        return replace(self, alpha=0.0)

    def state(self, guider, slots):
        return _Frequency(self.alpha, guider.search, slots)


class _Frequency(GuideState):
    def __init__(self, alpha, search, slots):
        self.alpha = alpha
        self.counts = torch.zeros(slots, search.survivors, VOCAB, dtype=torch.float64)
        self.drawn = []  # [P, S, K, V] one-hot, by column; whether it counts is known at the boundary

    def admit(self, slots, prompts):
        self.counts[slots] = 0
        self.drawn = []

    def guide(self, view):
        return view.guided - self.alpha * sum(self.drawn, self.counts[:, :, None])

    def weigh(self, view, tokens):
        self.drawn.append(torch.nn.functional.one_hot(tokens, VOCAB).double())

    def commit(self, parents, rows, counts, identity):
        drawn = torch.stack(self.drawn, -2).flatten(1, 2)  # [P, S·K, n, V]
        drawn = drawn.gather(1, rows[..., None, None].expand(-1, -1, *drawn.shape[2:]))
        inside = torch.arange(drawn.shape[2]) < counts[..., None]
        kept = self.counts.gather(1, parents[..., None].expand_as(self.counts))
        self.counts, self.drawn = kept + (drawn * inside[..., None]).sum(2), []

    def keep(self, slots):
        self.counts = self.counts[slots]


@dataclass(frozen=True)
class Args(TokenGuide):
    """ARGS (Khanov et al. 2024): among the base's k likeliest, logit + w · value(prefix + v); others are masked."""

    reward: LM
    weight: float = 1.5
    k: int = 5
    memory = True

    @property
    def models(self):
        return (self.reward,)

    def check(self):
        assert self.reward.model.kind == "scalar"

    def off(self):
        return replace(self, weight=0.0, k=VOCAB)

    def state(self, guider, slots):
        return _Args(self)


@dataclass
class _Args(GuideState):
    settings: Args

    def guide(self, view):
        top = view.base.topk(self.settings.k).indices
        values = view.peek(top, model=1)[..., 0]
        chosen = view.guided.gather(-1, top) + self.settings.weight * values
        return torch.full_like(view.guided, -torch.inf).scatter(-1, top, chosen)


@dataclass(frozen=True)
class Dropped(TokenGuide):
    """Masks ids by a uniform number of its own, never the last one; weighs what is left."""

    share: float = 0.4
    memory = chance = True

    def off(self):
        return replace(self, share=0.0)

    def state(self, guider, slots):
        return _Dropped(self.share)


@dataclass
class _Dropped(GuideState):
    share: float

    def guide(self, view):
        out = view.numbers(VOCAB) < self.share
        out[..., -1] = False
        return view.guided.masked_fill(out, -torch.inf)

    def weigh(self, view, tokens):
        return torch.full(tokens.shape, 0.25, dtype=torch.float64)


REWARD = value(kind="scalar")
GUIDES = {
    "penalty": Penalty(),
    "frequency": Frequency(),
    "args": Args(REWARD),
    "dropped": Dropped(),
    "several": [Dropped(0.2), Implicit(*PAIR, 0.5), Args(REWARD), Penalty()],
}
SEARCHES = {
    "sample": (None, Sample()),
    "best of 3": (Explicit(value("mistral")), BestOfN(3)),
    "beam": (ImplicitValue(*PAIR), ChunkBeam(2, 2, 3)),
}


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("name", GUIDES)
def test_laws_and_oracle(name, search):
    guider = Guider(ending("llama", 0, {3}), GUIDES[name], *SEARCHES[search])
    assert_same(laws.decode(guider, PROMPTS, SAMPLING), naive_generate(guider, PROMPTS, SAMPLING, cached=False))
    if search == "beam":
        laws.check(guider, PROMPTS, SAMPLING)


def test_a_penalty_by_hand():
    """Greedy, token by token, in plain Python; ids outside of the window are as the base has them."""
    base, guide = lm("gpt2", 0, 1.0), Penalty(2.0, 3)
    (one,) = generate(Guider(base, guide), ["ab"], Sampling(temperature=0, max_new_tokens=12))
    ids, start = base.encode_prompt("ab"), len(base.encode_prompt("ab"))
    for token in one.tokens:
        logits = base.model(torch.tensor([ids])).logits[0, -1].tolist()
        for seen in set(ids[start:][-3:]):
            logits[seen] = logits[seen] / 2 if logits[seen] > 0 else logits[seen] * 2
        assert token == max(range(VOCAB), key=lambda i: logits[i])
        ids.append(token)
    assert len(set(one.tokens)) > 1


@pytest.mark.parametrize("off", [Penalty(1.0), Penalty(3.0, 0)])
def test_a_penalty_that_is_off_is_the_base(off):
    base = ending("llama", 0, {3})
    assert_same(laws.decode(Guider(base, off), PROMPTS, SAMPLING), laws.decode(Guider(base), PROMPTS, SAMPLING))


def test_args_scores_are_the_formula():
    """log-probabilities of given tokens, against one forward pass of the value model for every alternative."""
    base, weight, k, tokens = lm(), 1.5, VOCAB, [4, 1, 9]
    (found,) = token_log_probs(Guider(base, Args(REWARD, weight, k)), [("ab", tokens)])
    ids = base.encode_prompt("ab")
    for token, got in zip(tokens, found.log_probs, strict=True):
        logits = base.model(torch.tensor([ids])).logits[0, -1]
        texts = torch.tensor([[*ids, v] for v in range(VOCAB)])
        guided = logits + weight * REWARD.model(texts).logits[:, -1, 0]
        assert got == pytest.approx(float(guided.detach().log_softmax(-1)[token]), abs=1e-9)
        ids.append(token)


def test_what_is_outside_of_a_mask_is_never_drawn():
    base = lm("gpt2", 0, 0.05)
    guider = Guider(base, Args(REWARD, 0.0, 2))
    for one in laws.decode(guider, PROMPTS, Sampling(max_new_tokens=20, temperature=2.0)):
        ids = base.encode_prompt(PROMPTS[one.index])
        for token in one.tokens:
            assert token in base.model(torch.tensor([ids])).logits[0, -1].topk(2).indices
            ids.append(token)


def test_peeks_are_counted():
    """Every token: a position of the base and of the reward, and k alternatives."""
    (one,) = generate(Guider(lm(), Args(REWARD, 1.0, 5)), ["ab"], Sampling(max_new_tokens=8))
    n = len(one.tokens)
    assert one.forward_passes == 2 * (n - 1) + 5 * n


def test_a_guide_with_a_memory_is_not_captured():
    with pytest.raises(GuiderError, match="Penalty has a memory, which can't be captured as CUDA graphs"):
        laws.decode(Guider(lm(), Penalty()), ["a"], SAMPLING, graphs=True)
