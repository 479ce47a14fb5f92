"""The gold reward and the fluency of any text, exact under the grammar.

The reward is log P(positive | text) - log P(negative | text), in nats. The two sentiments are equally probable a
priori and sentences are independent given the sentiment, so it is a sum of log-likelihood ratios over the sentences:

- a sentence of the grammar gives its exact log-likelihood ratio (`parser.sentence`);
- an unfinished last sentence gives that of its beginning, summed over all completions (`parser.beginning`): exact
  as well, so a token limit neither rewards nor punishes;
- a sentence that stands twice counts once: no review of the grammar holds one twice, and repetition is no new
  evidence;
- any other sentence gives, for each distinct evaluative phrase in it, `DISCOUNT` of the ratio which that phrase
  carries in the plainest sentence; all such sentences of a text together give at most `CAP` nats either way. So
  broken text cannot buy what two clear sentences give.

An empty text has reward 0. Every reward is finite: a text has finitely many distinct parsed sentences.
"""

import math
import re
from functools import cache, lru_cache

from . import grammar, parser, words

DISCOUNT = 0.25
CAP = 1.0


def sentences(text: str) -> tuple[list[str], str]:
    """The finished sentences of a text, and its unfinished last one ("" if there is none), stripped."""
    found = [match.strip() for match in re.findall(r"[^.!?]*[.!?]+|[^.!?]+$", text)]
    found = [sentence for sentence in found if sentence]
    if found and found[-1][-1] not in ".!?":
        return found[:-1], found[-1]
    return found, ""


def gold_reward(text: str) -> float:
    """log P(positive | text) - log P(negative | text) in nats; see the module for texts outside the grammar."""
    exact, broken = 0.0, 0.0
    for sentence, parse in _distinct(text):
        if parse.parsed:
            exact += parse.log_ratio
        else:
            broken += _evidence(sentence)
    return exact + max(-CAP, min(CAP, broken))


def fluency(text: str) -> float:
    """The share of a text's sentences that the grammar parses, 0 to 1; 0 for an empty text.

    An unfinished last sentence counts as parsed if some sentence of the grammar begins with it. A sentence that stands
    again in the same text counts as not parsed the second time: the grammar never repeats itself.
    """
    finished, torn = sentences(text)
    if not finished and not torn:
        return 0.0
    parsed = sum(parse.parsed for _, parse in _distinct(text))
    return parsed / (len(finished) + bool(torn))


def _distinct(text: str) -> list[tuple[str, parser.Parse]]:
    finished, torn = sentences(text)
    parses = [(sentence, parser.sentence(sentence)) for sentence in dict.fromkeys(finished)]
    # A repetition that lacks its full stop is one too; a shorter beginning may still become another sentence.
    if torn and torn + "." not in finished:
        parses.append((torn, parser.beginning(torn)))
    return parses


@cache
def _phrase_evidence() -> dict[str, float]:
    """Each evaluative phrase, bare, with the log-likelihood ratio of its polarity and strength."""
    found: dict[str, float] = {}
    for levels in words.EVALUATIVE.values():
        for level, phrases in levels.items():
            sign, strength = (1 if level > 0 else -1), abs(level)
            agree = math.log(grammar.P_AGREE / (1 - grammar.P_AGREE))
            strong = math.log(grammar.P_STRENGTH[True][strength] / grammar.P_STRENGTH[False][strength])
            found |= dict.fromkeys(phrases, sign * (agree + strong))
    return found


@cache
def _phrase_pattern() -> re.Pattern:
    longest_first = sorted(_phrase_evidence(), key=len, reverse=True)
    return re.compile(r"\b(?:" + "|".join(map(re.escape, longest_first)) + r")\b")


@lru_cache(maxsize=100_000)
def _evidence(sentence: str) -> float:
    found = set(_phrase_pattern().findall(sentence.lower()))
    return DISCOUNT * sum(_phrase_evidence()[phrase] for phrase in sorted(found))
