"""Every method beside plain chunk search: rates, shares, and who can't be run and why."""

import json

import pytest

from harness.bench import main
from harness.bench.beside import compared
from harness.bench.settings import Bench
from harness.config.compose import choices

SMALL = {"base": "tiny", "prompts": 2, "new_tokens": 6, "rounds": 1, "length": 3, "prompt_tokens": (4, 9)}


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "figures.json"
    sizes = [f"bench.{name}={list(value) if isinstance(value, tuple) else value}" for name, value in SMALL.items()]
    methods = "bench.methods=[eft,cd_fudge,qalign,follow_up]"
    assert main([*sizes, methods, "bench.compare=true", f"bench.out={out}"]) == 0
    return json.loads(out.read_text(encoding="utf-8"))


def test_each_method_has_as_many_rows_in_the_batch_as_chunk_search(figures):
    assert list(figures["beside"]) == ["chunk_explicit", "eft", "cd_fudge", "qalign", "follow_up"]
    sizes = {method: (one["rows"], one["prompts"]) for method, one in figures["beside"].items()}
    assert sizes == {
        "chunk_explicit": (16, 2),
        "eft": (1, 32),
        "cd_fudge": (1, 32),  # with a vocabulary head, which it needs
        "qalign": (2, 16),
        "follow_up": (16, 2),
    }


def test_a_share_is_of_the_reference_s_row_rate(figures):
    found = figures["beside"]
    for one in found.values():
        tokens = one["prompts"] * one["rows"] * 6
        assert one["row_tokens_per_second"] == pytest.approx(tokens / one["seconds"])
        assert one["answer_tokens_per_second"] == pytest.approx(tokens / one["rows"] / one["seconds"])
        assert one["share"] == pytest.approx(found["chunk_explicit"]["seconds"] / one["seconds"] * tokens / 192)


def test_positions_are_those_counted_by_hand(figures):
    """A response of six tokens: each model reads five of them. EFT has three models; FUDGE's base and value two."""
    assert figures["beside"]["eft"]["positions_per_row_token"] == pytest.approx(3 * 5 / 6)
    assert figures["beside"]["cd_fudge"]["positions_per_row_token"] == pytest.approx(2 * 5 / 6)


def test_what_can_not_be_run_is_named_with_the_reason(tmp_path, capsys):
    path = tmp_path / "ends.yaml"
    path.write_text(
        "_target_: guiders.Guider\nbase: ${model.base}\n"
        "value: {_target_: guiders.Explicit, model: '${model.value}'}\n"
        "search: {_target_: guiders.ReleasedChunkBeam, width: 2, successors: 2, length: 3}\n"
    )
    spec = Bench(**SMALL).model_copy(update={"methods": [str(path)]})
    found = compared(spec, print)["beside"]
    assert "scores an end token, and there is none" in found[str(path)]["not_run"]
    assert found["chunk_explicit"]["share"] == 1


def test_all_names_every_configured_method():
    assert Bench(methods=["all"]).methods == choices("guider")
