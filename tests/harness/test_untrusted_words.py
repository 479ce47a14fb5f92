"""Words of a command line and of a guider's file that would act on a terminal, tell a secret or make no part."""

from pathlib import Path

import pytest
from test_bad_input import refused

from harness.errors import UserError
from harness.models.pool import Resolver


@pytest.mark.parametrize("word", ["\x1b[2J", "grid.\u202eweight=1", "guider=\x9b31m"])
def test_nothing_in_the_line_can_act_on_a_terminal(word, tiny, capsys):
    line = refused([*([] if word[0] == "\x1b" else ["sweep", *tiny]), word], capsys)
    assert all(sign.isprintable() for sign in line)


@pytest.mark.parametrize(
    "word", ["name=${oc.env:A_KEY}", "sampling.top_k=${oc.decode:${oc.env:A_KEY}}", "guider=mine.yaml"]
)
def test_nothing_of_the_environment_is_written_down(word, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A_KEY", "k-hunter2")
    guider = "_target_: guiders.Guider\nbase: ${model.base}\nsearch: {_target_: x.S, key: '${oc.env:A_KEY}'}\n"
    Path("mine.yaml").write_text(guider)
    assert "oc.env" in refused(["sweep", *tiny, word], capsys)
    assert not Path("runs").exists()


def test_an_embedded_model_of_another_name_is_said_before_they_are_built(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="embedded:base"):
        Resolver().folder({"path": "embedded:bass"}, "base")
    assert not list(tmp_path.iterdir())


def test_a_search_that_is_none_is_named(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    guider = "_target_: guiders.Guider\nbase: ${model.base}\nsearch: {_target_: builtins.dict}\n"
    Path("mine.yaml").write_text(guider)
    assert "builtins.dict makes no search but a dict" in refused(["sweep", *tiny, "guider=mine.yaml"], capsys)
