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


@dataclass(frozen=True)
class Grammar(Constraint):
    """Texts of a JSON schema, a regular expression or a context-free grammar; one of the three is given.

    llguidance (github.com/guidance-ai/llguidance) reads them byte by byte, in the tokens of any fast tokenizer on
    bytes. A keyword of JSON Schema that it can't hold is an error, not ignored.

    Args:
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

    def start(self, base: LM) -> Any:
        matcher, tokenizer = _library().LLMatcher, _tokenizer(base.tokenizer)
        kind = next(kind for kind in KINDS if getattr(self, kind) is not None)
        if self.json_schema is not None:
            compiled = matcher.grammar_from_json_schema(json.dumps(self.json_schema))
        elif self.regex is not None:
            compiled = matcher.grammar_from_regex(self.regex)
        else:
            compiled = matcher.grammar_from_lark(self.grammar)
        state = matcher(tokenizer, compiled, log_level=0)
        if state.is_error():
            why = " ".join(state.get_error().split())
            raise GuiderError(f"constraint: {kind} does not parse: {why:.300}; correct it")
        return state

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


def of_settings(settings: Mapping[str, Any]) -> Grammar:
    """The constraint of a configuration; GuiderError where a setting is unknown."""
    unknown = [name for name in settings if name not in KINDS]
    if unknown:
        raise GuiderError(f"constraint: {unknown[0]} is unknown; give one of {', '.join(KINDS)}")
    return Grammar(**settings)


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
