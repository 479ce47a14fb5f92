"""Texts of a schema, an expression and a grammar, beside Python's own parsers."""

import json
import re

import pytest
import torch
from tiny_models import VOCAB, byte_lm, lm

from guiders import ChunkBeam, Grammar, Guider, GuiderError, Implicit, Length, Sampling, TwistedSMC, generate, laws

torch.set_num_threads(1)
pytest.importorskip("llguidance")
SCHEMA = {
    "type": "object",
    "properties": {"stars": {"type": "integer", "minimum": 1, "maximum": 5}, "liked": {"type": "boolean"}},
    "required": ["stars", "liked"],
    "additionalProperties": False,
    "x-guidance": {"whitespace_flexible": False},
}
LIST = 'start: "[" item ("," item)* "]"\nitem: /[ab]/ | start\n'
PROMPTS = ["a film", "it was", "x"]


def texts(search=None, scored=None, token=None, limit=48, **constraint):
    extra = {} if search is None else {"search": search, "value": scored}
    guider = Guider(byte_lm(0), token, constraint=constraint, **extra)
    return laws.decode(guider, PROMPTS, Sampling(max_new_tokens=limit, seed=3))


@pytest.mark.parametrize("how", ["sampled", "guided", "chunks", "particles"])
def test_what_is_written_under_a_schema_is_valid(how):
    search, scored = {
        "chunks": (ChunkBeam(2, 2, 4), Length(-1.0)),
        "particles": (TwistedSMC(3, 1.0, 4), Length(-0.1)),
    }.get(how, (None, None))
    token = Implicit(byte_lm(1), byte_lm(2), 0.7) if how == "guided" else None
    given = texts(search, scored, token, json_schema=SCHEMA)
    for one in given:
        assert one.finish_reason == "eos"
        read = json.loads(one.text)
        assert set(read) == {"stars", "liked"}
        assert read["stars"] in range(1, 6)
        assert isinstance(read["liked"], bool)
    assert "{" not in {one.text[0] for one in laws.decode(Guider(byte_lm(0)), PROMPTS, Sampling(max_new_tokens=4))}


def test_what_is_written_under_an_expression_matches_it():
    for one in texts(regex=r"[0-9]{3}-[a-f]{2,4}"):
        assert re.fullmatch(r"[0-9]{3}-[a-f]{2,4}", one.text)


def test_what_is_written_under_a_grammar_nests():
    seen = set()
    for one in texts(grammar=LIST, limit=40):
        balance = [one.text[: i + 1].count("[") - one.text[: i + 1].count("]") for i in range(len(one.text))]
        assert min(balance[:-1], default=1) > 0
        if one.finish_reason == "eos":
            assert balance[-1] == 0
        assert set(one.text) <= set("[],ab")
        seen.add(one.text)
    assert len(seen) > 1


def test_masks_are_those_of_the_definition():
    """Before every byte, an id is allowed where some text of a finite language goes on with it."""
    language = ["ab", "abc", "xyz"]
    grammar, base = Grammar(regex="ab|abc|xyz"), byte_lm(0)
    for text in ("", "a", "ab", "abc", "x", "xy"):
        state = grammar.start(base)
        for token in base.encode_text(text, special=False):
            state = grammar.advance(state, token)
        expected = {full[len(text)] for full in language if full.startswith(text) and len(full) > len(text)}
        found = grammar.allowed(state)
        ids = [i for i in range(len(base.tokenizer)) if found[i] and i not in base.eos_ids]
        assert {base.tokenizer.decode([i]) for i in ids} == expected
        assert grammar.complete(state) == (text in language)


def test_files_are_read(tmp_path):
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    (tmp_path / "list.txt").write_text(LIST)
    assert Grammar(json_schema=str(tmp_path / "schema.json")) == Grammar(json_schema=SCHEMA)
    assert Grammar(grammar=str(tmp_path / "list.txt")) == Grammar(grammar=LIST)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "nothing is given"),
        ({"regex": "a", "grammar": 'start: "a"'}, "regex and grammar are given"),
        ({"schema": "a"}, "schema is unknown"),
        ({"field": "a", "regex": "b"}, "regex is unknown"),
        ({"field": "a", "kind": "poem"}, "kind=poem is unknown"),
        ({"field": ""}, "is no name"),
        ({"json_schema": "no/such.json"}, "no/such.json"),
        ({"json_schema": {"type": "integer", "not": {"const": 3}}}, "json_schema does not parse"),
        ({"json_schema": {"type": "whole number"}}, "json_schema does not parse"),
        ({"json_schema": False}, "json_schema does not parse"),
        ({"regex": "("}, "regex does not parse"),
        ({"grammar": "start: nothing_of_that_name"}, "grammar does not parse"),
    ],
)
def test_what_can_not_be_obeyed_is_one_line(settings, said):
    with pytest.raises(GuiderError, match=said) as caught:
        Guider(byte_lm(0), constraint=settings)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_tokenizer_that_lacks_the_bytes_says_so():
    """The letters a to v: no digit can be written."""
    with pytest.raises(GuiderError) as caught:
        Guider(lm(), constraint={"regex": "[0-9]+"})
    assert "\n" not in str(caught.value)
    assert VOCAB == 24


def test_each_prompt_is_held_to_the_schema_of_its_document():
    """Three schemas beside each other, one as JSON text, and one that llguidance does not hold."""
    schemas = [
        {"const": "yes"},
        json.dumps({"type": "boolean"}),
        {"type": "integer", "minimum": 10, "maximum": 12},
        {"type": "integer", "not": {"const": 3}},
        "{ no json",
    ]
    guider = Guider(byte_lm(0), constraint={"field": "schema"})
    documents = [{"schema": schema, "title": "more"} for schema in schemas]
    found = generate(guider, ["a"] * 5, Sampling(max_new_tokens=24), documents=documents)
    found = sorted(found, key=lambda one: one.index)
    assert [one.notes["compiled"] for one in found] == [1, 1, 1, 0, 0]
    assert [one.finish_reason for one in found] == ["eos"] * 3 + ["constraint"] * 2
    assert found[0].text == '"yes"'
    assert json.loads(found[1].text) in (True, False)
    assert json.loads(found[2].text) in (10, 11, 12)
    assert [one.text for one in found[3:]] == ["", ""]


def test_a_document_s_grammar_is_never_taken_for_a_file(tmp_path):
    (tmp_path / "list.lark").write_text('start: "secret"')
    guider = Guider(byte_lm(0), constraint={"field": "it", "kind": "grammar"})
    documents = [{"it": str(tmp_path / "list.lark")}, {"it": 'start: "ab"'}]
    found = sorted(generate(guider, ["a", "b"], documents=documents), key=lambda one: one.index)
    assert [one.text for one in found] == ["", "ab"]


@pytest.mark.parametrize("documents", [None, [{"other": 1}], [None]])
def test_a_prompt_that_lacks_its_schema_is_named(documents):
    guider = Guider(byte_lm(0), constraint={"field": "schema"})
    with pytest.raises(GuiderError, match="document") as caught:
        list(generate(guider, ["a"], documents=documents))
    assert "\n" not in str(caught.value)
