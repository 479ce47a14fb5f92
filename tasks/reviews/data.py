"""Texts, prompts, preference pairs and rewards of the reviews task, all drawn from a seed.

A prompt is the neutral beginning of a review (its gold reward is 0); a text is prompt + response, and a response
begins with a space. The splits share no prompt: a prompt belongs to the split which its own hash names, and
everything to train on (`corpus`, `pairs`, `rewards`) begins with train prompts alone.
"""

import hashlib
import math
import random
from collections.abc import Iterator

from ..errors import TaskError
from . import gold, grammar

SPLITS = ("train", "dev", "test")
MAX_DRAWS_PER_PROMPT = 200


def split_of(prompt: str) -> str:
    """The split to which a prompt belongs: of 8 parts by hash, one is dev, two are test, the rest train."""
    part = hashlib.sha256(prompt.encode()).digest()[0] % 8
    return "dev" if part == 0 else "test" if part <= 2 else "train"


def reviews(n: int, seed: int, split: str = "train", stream: str = "reviews") -> Iterator[grammar.Review]:
    """`n` reviews whose prompts belong to a split; another stream is another independent draw with the same seed."""
    _check(n, split)
    rng = random.Random(f"{stream}:{split}:{seed}")
    while n > 0:
        review = grammar.sample_review(rng)
        if split_of(review.prompt) == split:
            n -= 1
            yield review


def corpus(n: int, seed: int) -> list[str]:
    """`n` whole reviews, to train a language model on."""
    return [review.text for review in reviews(n, seed, stream="corpus")]


def prompts(split: str, n: int, seed: int = 0) -> list[str]:
    """`n` distinct prompts of a split ("train", "dev" or "test")."""
    _check(n, split)
    found: dict[str, None] = {}
    rng = random.Random(f"prompts:{split}:{seed}")
    for _ in range(MAX_DRAWS_PER_PROMPT * n + 10_000):
        if len(found) == n:
            break
        prompt = grammar.sample_review(rng).prompt
        if split_of(prompt) == split:
            found[prompt] = None
    if len(found) < n:
        raise TaskError(f"reviews: n={n}: the {split} split has no {n} distinct prompts; ask for fewer")
    return list(found)


def pairs(n: int, seed: int) -> list[dict[str, str]]:
    """`n` preference pairs {"prompt", "chosen", "rejected"}: two independent responses to one prompt.

    Which is chosen is drawn by the Bradley-Terry model on the gold reward, P(a over b) = sigmoid(r(a) - r(b)), so
    that the implicit reward of an ideal DPO policy is the gold reward itself.
    """
    rng = random.Random(f"second responses:{seed}")
    rows = []
    for first in reviews(n, seed, stream="pairs"):
        prompt, a, b = first.prompt, first.response, respond(rng, first.prompt)
        margin = gold.gold_reward(prompt + a) - gold.gold_reward(prompt + b)
        chosen, rejected = (a, b) if rng.random() < 1 / (1 + math.exp(-margin)) else (b, a)
        rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return rows


def rewards(n: int, seed: int) -> list[dict]:
    """`n` rows {"prompt", "response", "reward"}; the reward is the gold reward of prompt + response."""
    drawn = reviews(n, seed, stream="rewards")
    return [{"prompt": r.prompt, "response": r.response, "reward": gold.gold_reward(r.text)} for r in drawn]


def respond(rng: random.Random, prompt: str) -> str:
    """A response from the grammar given the prompt; its sentiment is drawn afresh, as a prompt says nothing of it."""
    while True:
        review = grammar.sample_review(rng)
        # "My ..." and "Last night I ..." continue differently.
        if review.prompt.startswith("My ") == prompt.startswith("My "):
            return review.response


def _check(n: int, split: str) -> None:
    if split not in SPLITS:
        raise TaskError(f"reviews: split {split!r} does not exist; take one of {', '.join(SPLITS)}")
    if not isinstance(n, int) or n < 0:
        raise TaskError(f"reviews: n={n!r} is no number of rows; give a whole number >= 0")
