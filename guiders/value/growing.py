"""Tokens of a text that grows: those at its beginning that can no longer change are kept."""

from collections.abc import Callable
from dataclasses import dataclass, field

from guiders.models.lm import LM

SPACES = (" ", "\u2581", "\u0120")  # a space in a text, in SentencePiece's vocabularies and in byte-level ones


@dataclass(frozen=True)
class Frozen:
    """The tokens of a text's beginning, which no continuation changes.

    Attributes:
        text: the beginning. tokens: its ids.
        context: the word that it ends with, as what follows is tokenised behind it.
    """

    text: str = ""
    tokens: list[int] = field(default_factory=list)
    context: str = ""


def cuts_at_spaces(lm: LM) -> bool:
    """Are a tokenizer's tokens on the two sides of a word's end independent of each other?

    They are where it splits texts into words first, or where no token of its vocabulary goes on after a space that
    follows something else; and no added token does.
    """
    backend = getattr(lm.tokenizer, "backend_tokenizer", None)
    if backend is None:
        return False
    added = [str(token) for token in getattr(lm.tokenizer, "added_tokens_decoder", {}).values()]
    if any(" " in token.lstrip() for token in added):
        return False
    if backend.pre_tokenizer is not None and len(backend.pre_tokenizer.pre_tokenize_str("one two")) > 1:
        return True
    if backend.pre_tokenizer is not None or type(backend.model).__name__ not in ("BPE", "Unigram"):
        return False
    return not any(_spaced(token) for token in lm.tokenizer.get_vocab())


def _spaced(token: str) -> bool:
    """Has a token a space after something that is none?"""
    for space in SPACES[:2]:
        token = token.replace(space, " ")
    return " " in token.lstrip(" ")


def grown(lm: LM, frozen: Frozen, text: str, whole: Callable[[str], list[int]]) -> tuple[list[int], Frozen]:
    """The tokens of a text, and what of them is frozen now.

    Args:
        frozen: of an earlier text. It is used where this one goes on from it.
        whole: tokenises a whole text, as it stands after its prompt.
    """
    if not text.startswith(frozen.text):
        frozen = Frozen()
    rest = text[len(frozen.text) :]
    tokens = whole(text) if not frozen.text else _following(lm, frozen.context, rest)
    if tokens is None:  # a token reaches over the cut after all
        return whole(text), Frozen()
    tokens = [*frozen.tokens, *tokens]
    at = _last_cut(rest)
    if at <= 0:
        return tokens, frozen
    context = rest[:at].rpartition(" ")[2] or frozen.context
    behind = _following(lm, context, rest[at:])
    if behind is None or tokens[len(tokens) - len(behind) :] != behind:
        return tokens, frozen
    return tokens, Frozen(text[: len(frozen.text) + at], tokens[: len(tokens) - len(behind)], context)


def _last_cut(text: str) -> int:
    """Where the last but one word of a text ends: before a single space between a printable character of ASCII and a
    letter or digit of it, of which no tokenizer makes anything but the end of a word. 0 where there is none."""
    found = [at for at in range(1, len(text) - 1) if text[at] == " " and _ends_word(text[at - 1], text[at + 1])]
    return found[-2] if len(found) > 1 else 0


def _ends_word(before: str, after: str) -> bool:
    return "!" <= before <= "~" and after.isascii() and after.isalnum()


def _following(lm: LM, context: str, text: str) -> list[int] | None:
    """A text's tokens behind another one's; None where a token reaches from one into the other."""
    first, both = (lm.encode_text(one, special=False) for one in (context, context + text))
    return both[len(first) :] if both[: len(first)] == first else None
