"""The grammar as a weighted automaton over words: the exact probability of a sentence, or of its beginning.

The forward algorithm keeps, for each state that the words so far can have reached, their probability under a
positive and under a negative review. Derivations are summed, so an ambiguous sentence is scored exactly; and
because every state's completions sum to one, the sum over the states is the probability that a sentence BEGINS with
these words.
"""

import math
import re
from functools import cache, lru_cache
from typing import NamedTuple

from . import grammar, templates

Edges = dict[str, list[tuple[int, float, float]]]


class Parse(NamedTuple):
    """Whether the grammar has a sentence (or one that begins so), and its log-likelihood ratio in nats."""

    parsed: bool
    log_ratio: float


UNPARSED = Parse(False, 0.0)


@cache
def _automaton() -> list[Edges]:
    """State 0 is the start, state 1 the end; `edges[state][word]` lists (next state, P(.|positive), P(.|negative))."""
    edges: list[Edges] = [{}, {}]
    for pool in templates.POOLS.values():
        for template in pool:
            for polarity in grammar.SENTIMENTS:
                weights = [grammar.main_polarity(s)[polarity] / len(pool) / len(templates.POOLS) for s in (1, -1)]
                _add(edges, [_tokens_of(part, polarity) for part in grammar.parts(template)], weights)
    return edges


def _tokens_of(part: str, polarity: int) -> list[tuple[list[str], float, float]]:
    if grammar.is_slot(part):
        return [(tokenise(o.text), o.positive, o.negative) for o in grammar.options(part, polarity)]
    return [(tokenise(part.replace("|", "")), 1.0, 1.0)]


def _add(edges: list[Edges], chain: list[list[tuple[list[str], float, float]]], weights: list[float]) -> None:
    # A part without a word (the space between two slots) is no step.
    chain = [choices for choices in chain if choices[0][0]]
    here = 0
    for i, choices in enumerate(chain):
        there = 1 if i == len(chain) - 1 else _new(edges)
        scale = weights if i == 0 else (1.0, 1.0)
        for tokens, positive, negative in choices:
            state, p, q = here, positive * scale[0], negative * scale[1]
            for token in tokens[:-1]:
                after = _new(edges)
                edges[state].setdefault(token, []).append((after, p, q))
                state, p, q = after, 1.0, 1.0
            edges[state].setdefault(tokens[-1], []).append((there, p, q))
        here = there


def _new(edges: list[Edges]) -> int:
    edges.append({})
    return len(edges) - 1


def tokenise(text: str) -> list[str]:
    """Words and punctuation marks."""
    return re.findall(r"[^\s,.!?;:]+|[,.!?;:]", text)


def _words(text: str) -> list[str] | None:
    """The tokens of a sentence as the automaton knows them; None if its spacing or its capital letter is wrong."""
    tokens = tokenise(text)
    spaced = "".join(token if token in ",.!?;:" else " " + token for token in tokens)
    if not tokens or spaced[1:] != text or not text[0].isupper():
        return None
    first = tokens[0]
    return [first if first == "I" else first[0].lower() + first[1:], *tokens[1:]]


def _forward(words: list[str]) -> dict[int, tuple[float, float]]:
    edges = _automaton()
    states = {0: (1.0, 1.0)}
    for word in words:
        reached: dict[int, tuple[float, float]] = {}
        for state, (p, q) in states.items():
            for after, pe, qe in edges[state].get(word, ()):
                p0, q0 = reached.get(after, (0.0, 0.0))
                reached[after] = (p0 + p * pe, q0 + q * qe)
        states = reached
        if not states:
            break
    return states


@lru_cache(maxsize=100_000)
def sentence(text: str) -> Parse:
    """The parse of a whole sentence, full stop included: log P(text | positive) - log P(text | negative)."""
    words = _words(text)
    end = _forward(words).get(1) if words else None
    return Parse(True, _log_ratio(*end)) if end else UNPARSED


@lru_cache(maxsize=100_000)
def beginning(text: str) -> Parse:
    """The parse of a sentence cut short, be it within a word: its log-likelihood ratio, summed over all
    completions."""
    text = text.rstrip()
    words = _words(text)
    if not words:
        return UNPARSED
    edges = _automaton()
    p = q = 0.0
    for state, (ps, qs) in _forward(words[:-1]).items():
        for token, steps in edges[state].items():
            # The first word is in lower case here, and "I" may not be all of it.
            if token.startswith(words[-1]) or (len(words) == 1 and token.lower().startswith(words[-1].lower())):
                p += ps * sum(step[1] for step in steps)
                q += qs * sum(step[2] for step in steps)
    return Parse(True, _log_ratio(p, q)) if p > 0 else UNPARSED


def _log_ratio(p: float, q: float) -> float:
    ratio = math.log(p) - math.log(q)
    return 0.0 if abs(ratio) < 1e-12 else ratio
