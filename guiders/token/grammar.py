"""JSON schemas, regular expressions and context-free grammars as constraints, by llguidance."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from guiders.errors import GuiderError
from guiders.models.lm import LM
from guiders.token.constraint import Constraint

KINDS = ("json_schema", "regex", "grammar")


class Matched(Constraint):
    """A constraint whose states are llguidance's matchers."""

    def advance(self, state: Any, token: int) -> Any:
        after = state.deep_copy()
        after.consume_token(token)
        return after

    def allowed(self, state: Any) -> torch.Tensor:
        bits = torch.frombuffer(bytearray(state.compute_bitmask()), dtype=torch.uint8)
        if state.is_error():
            raise GuiderError(f"constraint: {' '.join(state.get_error().split()):.300}; use a simpler one")
        return (bits[:, None] >> torch.arange(8, dtype=torch.uint8) & 1).flatten().bool()

    def complete(self, state: Any) -> bool:
        return bool(state.is_accepting())


@dataclass(frozen=True)
class Grammar(Matched):
    """Texts of a JSON schema, a regular expression or a context-free grammar; one of the three is given.

    llguidance (github.com/guidance-ai/llguidance) reads them byte by byte, in the tokens of any fast tokenizer on
    bytes. A keyword of JSON Schema that it can't hold is an error, not ignored.

    Args:
        whitespace: may JSON have any between its parts, in no bounded number? False: none, which small models need.
        json_schema: a schema, or the path of a JSON file with one. regex: an expression that the whole text matches, in
            the syntax of Rust's regex crate. grammar: in the syntax of Lark, or the path of a ``.txt`` or ``.lark``
            file with one.

    Raises:
        GuiderError: none or several are given; a file that can't be read. Once the base is known: what is given does
            not parse; a tokenizer that is not fast; llguidance is not installed.
    """

    json_schema: Mapping[str, Any] | str | None = None
    regex: str | None = None
    grammar: str | None = None
    whitespace: bool = True

    def __post_init__(self) -> None:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            said = f"{' and '.join(given)} are given" if given else "nothing is given"
            raise GuiderError(f"constraint: {said}; give one of {', '.join(KINDS)}")
        if isinstance(self.json_schema, str):
            text = _read("json_schema", self.json_schema)
            try:
                object.__setattr__(self, "json_schema", json.loads(text))
            except ValueError as error:
                raise GuiderError(f"constraint: json_schema={self.json_schema}: {error}; give JSON") from None
        if self.grammar is not None and self.grammar.endswith((".txt", ".lark")):
            object.__setattr__(self, "grammar", _read("grammar", self.grammar))

    def __hash__(self) -> int:
        return hash((json.dumps(self.json_schema, sort_keys=True), self.regex, self.grammar))

    def start(self, base: LM, document: Mapping[str, Any] | None = None) -> Any:
        kind = next(kind for kind in KINDS if getattr(self, kind) is not None)
        given = getattr(self, kind)
        state = _compiled(kind, json.dumps(given) if kind == "json_schema" else given, self.whitespace, base)
        if state.is_error():
            why = " ".join(state.get_error().split())
            raise GuiderError(f"constraint: {kind} does not parse: {why:.300}; correct it")
        return state


@dataclass(frozen=True)
class FieldGrammar(Matched):
    """Each prompt's own: the JSON schema, expression or grammar in a field of the document that it came with.

    A document's schema that llguidance does not hold, or that turns out too complex for it on the way, allows nothing:
    the response ends there, with ``finish_reason`` "constraint". The field is never taken for the path of a file.

    Args:
        field: of the document. A schema is a mapping, or JSON. kind: what it holds, one of `KINDS`. whitespace: see
            `Grammar`.

    Raises:
        GuiderError: an unknown kind. While decoding: a prompt without a document, or one without the field.
    """

    field: str = "json_schema"
    kind: str = "json_schema"
    whitespace: bool = True
    own = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise GuiderError(f"constraint: kind={self.kind} is unknown; choose one of {', '.join(KINDS)}")
        if not isinstance(self.field, str) or not self.field:
            raise GuiderError(f"constraint: field={self.field!r} is no name; give the name of a document's field")

    def check(self, base: LM) -> None:
        _tokenizer(base.tokenizer)

    def start(self, base: LM, document: Mapping[str, Any] | None = None) -> Any:
        if document is None or document.get(self.field) is None:
            said = "came with no document" if document is None else f"has no field {self.field!r} in its document"
            raise GuiderError(f"constraint: a prompt {said}; give documents with that field, or one constraint for all")
        given = document[self.field]
        if self.kind == "json_schema":
            try:
                given = json.dumps(json.loads(given) if isinstance(given, str) else given)
            except (TypeError, ValueError):
                return None
        state = _compiled(self.kind, str(given), self.whitespace, base)
        return None if state.is_error() else state

    def allowed(self, state: Any) -> torch.Tensor:
        try:
            return super().allowed(state)
        except GuiderError:
            return torch.zeros(0, dtype=torch.bool)

    def complete(self, state: Any) -> bool:
        return not state.is_error() and super().complete(state)


def of_settings(settings: Mapping[str, Any]) -> Constraint:
    """The constraint of a configuration; GuiderError where a setting is unknown."""
    known = ("field", "kind") if "field" in settings else KINDS
    unknown = [name for name in settings if name not in (*known, "whitespace")]
    if unknown:
        choice = "field with kind, and nothing else" if "field" in settings else f"one of {', '.join(KINDS)}, or field"
        raise GuiderError(f"constraint: {unknown[0]} is unknown; give {choice}")
    return FieldGrammar(**settings) if "field" in settings else Grammar(**settings)


def _compiled(kind: str, text: str, whitespace: bool, base: LM) -> Any:
    """llguidance's matcher at the beginning; it says itself whether the text does not parse."""
    matcher, tokenizer = _library().LLMatcher, _tokenizer(base.tokenizer)
    if kind == "json_schema":
        options = {} if whitespace or text in ("true", "false") else {"whitespace_flexible": False}
        compiled = matcher.grammar_from_json_schema(
            text, options or None
        )  # which a schema that is no object has none of
    elif kind == "regex":
        compiled = matcher.grammar_from_regex(text)
    else:
        compiled = matcher.grammar_from_lark(text)
    return matcher(tokenizer, compiled, log_level=0)


def _read(kind: str, path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = str(error).strip().splitlines()[0]
        raise GuiderError(f"constraint: {kind}={path:.100}: {why}; give a file that can be read") from None


def _library() -> Any:
    try:
        import llguidance.hf
    except ImportError:
        raise GuiderError("constraint: llguidance is not installed; pip install 'ivg-harness[constraints]'") from None
    return llguidance


@functools.lru_cache(maxsize=8)
def _tokenizer(tokenizer: Any) -> Any:
    """llguidance's own form of a tokenizer: tenths of a second for a large vocabulary."""
    try:
        return _library().hf.from_tokenizer(tokenizer, n_vocab=len(tokenizer))
    except Exception as error:  # the library raises plain ValueErrors and its own panics
        if isinstance(error, GuiderError):
            raise
        why = str(error).strip().splitlines()[0]
        raise GuiderError(
            f"constraint: a {type(tokenizer).__name__} can't be read: {why:.200}; use a fast one"
        ) from None
