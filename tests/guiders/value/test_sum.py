"""Weighted sums of values, and the length of a response as one."""

import pytest
import torch
from tiny_models import byte_lm, lm, value

from guiders import (
    BestOfN,
    ChunkBeam,
    Explicit,
    Guider,
    GuiderError,
    Implicit,
    ImplicitValue,
    Length,
    Likelihood,
    Sampling,
    Sum,
    generate,
)
from guiders.laws import check, decode
from guiders.search import Search, Selection, Tokens

torch.set_num_threads(1)
PROMPTS = ["hat", "a dog"]
ASKED = Sampling(max_new_tokens=9, seed=4)


def guided(*parts, search=None, token=None):
    return Guider(lm("gpt2", 0, 1.0), token=token, value=Sum(parts), search=search or ChunkBeam(2, 3, 2))


def pair(seed: int = 5):
    return lm("gpt2", seed), lm("gpt2", seed + 1)


def test_each_part_gathers_its_own_values():
    """Parts that are gathered chunk by chunk, in a sum: as the slow formula has it, part by part."""
    parts = ((ImplicitValue(*pair()), 2.0), (Likelihood(lm("llama", 4), reduce="mean"), -3.0), (Length(0.25), 1.0))
    for token in (None, Implicit(*pair(), weight=0.5)):
        guider = guided(*parts, token=token)
        for one in generate(guider, PROMPTS, ASKED):
            said = [
                weight * part.rescore(guider, PROMPTS[one.index], [one.tokens], [one.finish_reason == "eos"])[0]
                for part, weight in parts
            ]
            assert one.value == pytest.approx(sum(said), abs=1e-6)


def test_laws():
    parts = ((Explicit(value("gpt2", "scalar", 7, "bytes")), 1.0), (ImplicitValue(*pair()), 1.0), (Length(), 0.5))
    check(guided(*parts), PROMPTS, ASKED)


def test_two_guiding_pairs_are_two_values():
    """The decoder gives one ratio of its guides: the second pair's is computed, and is not the first's."""
    first, second = Implicit(*pair(), weight=0.3), Implicit(*pair(9), weight=0.2)
    parts = ((ImplicitValue(*pair()), 1.0), (ImplicitValue(*pair(9)), 10.0))
    guider = guided(*parts, token=(first, second))
    for one in decode(guider, PROMPTS, ASKED):
        slow = guider.value.rescore(guider, PROMPTS[one.index], [one.tokens], [one.finish_reason == "eos"])[0]
        assert one.value == pytest.approx(slow, abs=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 1e6])
def test_a_length_penalty_chooses_by_reward_less_alpha_times_length(alpha):
    """α = 0: the reward's own choice. α → ∞: a shortest row. Between: the maximum, over the rows, of the formula."""
    reward = ImplicitValue(*pair())
    guider = guided((reward, 1.0), (Length(), alpha), search=BestOfN(8))
    alone = decode(Guider(guider.base, value=reward, search=BestOfN(8)), PROMPTS, ASKED, trace=True)
    for one, plain in zip(decode(guider, PROMPTS, ASKED, trace=True), alone, strict=True):
        rows = one.trace["chunks"][-1]["hypotheses"]
        least = min(len(row["text"]) + row["ended"] for row in rows)
        if alpha == 0.0:
            assert one.tokens == plain.tokens
        elif alpha == 1e6:
            assert len(one.tokens) == least
        best = max(h["value"] - alpha * (len(h["text"]) + h["ended"]) for h in plain.trace["chunks"][-1]["hypotheses"])
        assert one.value == pytest.approx(best, rel=1e-6, abs=1e-6)


class Undoing(Search):
    """Takes back the last token of every other chunk."""

    revises = True

    @property
    def survivors(self):
        return 2

    @property
    def ends(self):
        return Tokens(3)

    def select(self, boundary):
        odd = (boundary.chunks % 2 == 1)[:, None] & (boundary.lengths < 8)
        rows = torch.arange(2, device=odd.device).expand(len(odd), -1)
        return Selection(rows, torch.where(odd, boundary.lengths - 1, boundary.lengths))


def test_parts_follow_a_search_that_takes_tokens_back():
    parts = ((ImplicitValue(*pair()), 1.0), (Likelihood(lm("llama", 4), reduce="mean"), 3.0), (Length(), 0.5))
    guider = guided(*parts, search=Undoing())
    for one in decode(guider, PROMPTS, ASKED):
        slow = guider.value.rescore(guider, PROMPTS[one.index], [one.tokens], [one.finish_reason == "eos"])[0]
        assert one.value == pytest.approx(slow, abs=1e-6)


def test_passes_add_up():
    base = lm("gpt2", 0, 1.0)
    needed = {}
    for name, parts in {
        "pair": ((ImplicitValue(*pair()), 1.0),),
        "both": ((ImplicitValue(*pair()), 1.0), (Length(), 1e-9)),
        "text": (
            (ImplicitValue(*pair()), 1.0),
            (Likelihood(byte_lm(), of="text", template="{response}", texts="?"), 0.0),
        ),
    }.items():
        (one,) = generate(Guider(base, value=Sum(parts), search=BestOfN(3)), ["hat"], ASKED, trace=True)
        needed[name] = one.forward_passes
        texts = [h["text"] for h in one.trace["chunks"][-1]["hypotheses"]]
    assert needed["both"] == needed["pair"]
    # every response is read once when it is over: its bytes (at least the start token), and no position for the last
    assert needed["text"] == needed["pair"] + sum(max(1, len(text)) for text in texts)


@pytest.mark.parametrize(
    ("parts", "said"),
    [((), "no parts"), ((Length(),), "is no pair"), (((Length(), "1"),), "is no pair"), ((("x", 1.0),), "is no pair")],
)
def test_bad_parts_are_one_line(parts, said):
    with pytest.raises(GuiderError, match=said) as caught:
        Sum(parts)
    assert "\n" not in str(caught.value)
