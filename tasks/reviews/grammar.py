"""A probabilistic grammar of short movie reviews with a latent sentiment.

The miniature of the controlled-sentiment task of Liu et al. (2024, arXiv 2409.17819). A review is drawn so:

1. the latent sentiment s is positive (+1) or negative (-1), each with probability 1/2;
2. one opening, one to three middle sentences (`P_MIDDLE`) and one closing, each with a template drawn uniformly
   from its pool; none of this depends on s;
3. each sentence has a main polarity a, which agrees with s with probability `P_AGREE`; a conceded clause
   ("although ...") has the polarity -a;
4. each evaluative phrase, its polarity p given, has a strength (1 mild, 2 clear, 3 strong) drawn from
   `P_STRENGTH[p == s]`, and an adjective is left alone, hedged or boosted by `P_MODIFIER[p == s]`; the words are
   uniform within their level;
5. neutral slots are uniform; an aspect is uniform over those that the review has not named.

Given s the sentences are independent but for the aspects, which don't depend on s: so the log-odds of s given a review
is a sum over its sentences (`reviews.gold`).
"""

import random
import re
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import NamedTuple

from . import templates, words

P_MIDDLE = {1: 0.3, 2: 0.4, 3: 0.3}
P_AGREE = 0.7
P_STRENGTH = {True: {1: 0.25, 2: 0.40, 3: 0.35}, False: {1: 0.45, 2: 0.35, 3: 0.20}}
P_MODIFIER = {True: {"": 0.5, "hedge": 0.17, "boost": 0.33}, False: {"": 0.5, "hedge": 0.33, "boost": 0.17}}
SENTIMENTS = (1, -1)
MODIFIERS = {"": ("",), "hedge": words.HEDGES, "boost": words.BOOSTS}


class Option(NamedTuple):
    """One filling of a slot: its words, and its probability in a positive and in a negative review."""

    text: str
    positive: float
    negative: float


@dataclass(frozen=True)
class Review:
    """A review: its latent sentiment (+1 or -1), its neutral opening words, and what follows them."""

    sentiment: int
    prompt: str
    response: str

    @property
    def text(self) -> str:
        """The whole review."""
        return self.prompt + self.response


def main_polarity(sentiment: int) -> dict[int, float]:
    """P(main polarity of a sentence | sentiment)."""
    return {sentiment: P_AGREE, -sentiment: 1 - P_AGREE}


@cache
def parts(template: str) -> tuple[str, ...]:
    """A template as literals and slots, in order: `"I {feel+} it."` is `("I ", "{feel+}", " it.")`."""
    return tuple(part for part in re.split(r"(\{[^}]*\})", template) if part)


def is_slot(part: str) -> bool:
    """Whether a part of a template is a slot."""
    return part.startswith("{")


@cache
def options(slot: str, polarity: int) -> tuple[Option, ...]:
    """All fillings of a slot in a sentence with the given main polarity; each column of probabilities sums to one."""
    name = slot.strip("{}+-")
    if name in words.EVALUATIVE:
        return _evaluative(name, -polarity if slot.endswith("-}") else polarity)
    texts = {"subject": words.SUBJECTS, "be": words.BE_SUBJECTS}.get(name) or words.NEUTRAL[name]
    return tuple(Option(text, 1 / len(texts), 1 / len(texts)) for text in texts)


def _evaluative(name: str, polarity: int) -> tuple[Option, ...]:
    found = []
    for strength in P_STRENGTH[True]:
        phrases = words.EVALUATIVE[name][polarity * strength]
        for kind, modifiers in MODIFIERS.items() if name == "adj" else [("", ("",))]:
            share = [P_STRENGTH[polarity == s][strength] / len(phrases) for s in SENTIMENTS]
            if name == "adj":
                share = [
                    p * P_MODIFIER[polarity == s][kind] / len(modifiers) for p, s in zip(share, SENTIMENTS, strict=True)
                ]
            found += [Option(f"{modifier} {phrase}".lstrip(), *share) for modifier in modifiers for phrase in phrases]
    return tuple(found)


def capitalise(sentence: str) -> str:
    """A sentence with its first letter in upper case."""
    return sentence[:1].upper() + sentence[1:]


def aspect(text: str) -> str:
    """The aspect which a filled `{subject}` or `{be}` names: "the jokes are" names "the jokes"."""
    return text.removesuffix(" is").removesuffix(" are")


@cache
def _cumulative(slot: str, polarity: int, sentiment: int) -> list[float]:
    return list(accumulate(o.positive if sentiment > 0 else o.negative for o in options(slot, polarity)))


def _fill(rng: random.Random, slot: str, polarity: int, sentiment: int, named: set[str]) -> str:
    choices = options(slot, polarity)
    while True:  # by rejection: uniform over the aspects not yet named
        text = rng.choices(choices, cum_weights=_cumulative(slot, polarity, sentiment))[0].text
        if slot not in ("{subject}", "{be}"):
            return text
        if aspect(text) not in named:
            named.add(aspect(text))
            return text


def sample_sentence(rng: random.Random, pool: str, sentiment: int, named: set[str]) -> str:
    """One sentence of a pool ("opening", "middle" or "closing"); `named` holds the aspects already named and grows.

    An opening keeps the mark `|` which ends its prompt.
    """
    template = rng.choice(templates.POOLS[pool])
    polarity = sentiment if rng.random() < P_AGREE else -sentiment
    filled = (_fill(rng, part, polarity, sentiment, named) if is_slot(part) else part for part in parts(template))
    return capitalise("".join(filled))


def sample_review(rng: random.Random, sentiment: int | None = None) -> Review:
    """One review; the sentiment is drawn unless given."""
    sentiment = sentiment or rng.choice(SENTIMENTS)
    n_middle = rng.choices(list(P_MIDDLE), weights=list(P_MIDDLE.values()))[0]
    named: set[str] = set()
    pools = ["opening", *["middle"] * n_middle, "closing"]
    sentences = [sample_sentence(rng, pool, sentiment, named) for pool in pools]
    prompt, _, response = " ".join(sentences).partition("|")
    return Review(sentiment, prompt, response)


def vocabulary() -> frozenset[str]:
    """Every distinct word of the grammar, in lower case."""
    texts = [option.text for slot, a in _slots() for option in options(slot, a)]
    texts += [part for pool in templates.POOLS.values() for t in pool for part in parts(t) if not is_slot(part)]
    return frozenset(word for text in texts for word in re.findall(r"[a-z']+", text.lower()))


def _slots() -> list[tuple[str, int]]:
    slots = {part for pool in templates.POOLS.values() for t in pool for part in parts(t) if is_slot(part)}
    return [(slot, a) for slot in sorted(slots) for a in SENTIMENTS]
