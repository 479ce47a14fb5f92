"""What keeps a machine of a cluster from decoding as the driver's does."""

from dataclasses import replace

from harness.backends.nodes import Node, differences, this_node

FIRST = Node("a", {"torch": "2.13.0", "transformers": "5.0"}, "sha256:1", {"/models/base": "sha256:9"}, 8_000_000_000)


def test_machines_that_are_equal_differ_in_nothing():
    assert differences(FIRST, [FIRST, replace(FIRST, host="b", memory=None)], 1_000_000_000) == []


def test_each_difference_is_a_line_that_names_the_machine():
    other = Node("b", {"torch": "2.12.0"}, "sha256:2", {"/models/base": None}, 500_000_000)
    assert differences(FIRST, [other], 1_000_000_000) == [
        "b: torch 2.12.0, and 2.13.0 on a",
        "b: transformers is not installed, and 5.0 on a",
        "b: another version of the harness than on a",
        "b: no model at /models/base",
        "b: 0.5 GB of memory, and the weights take 1.0 GB",
    ]
    changed = replace(FIRST, host="c", models={"/models/base": "sha256:8"})
    assert differences(FIRST, [changed], 0) == ["c: /models/base is another model than on a"]


def test_this_machine_knows_its_models_by_content(tiny_models, tmp_path):
    base, tuned = tiny_models["base"], tiny_models["tuned"]
    here = this_node([base, tuned, str(tmp_path / "nothing")])
    assert here.models[base] != here.models[tuned]
    assert here.models[str(tmp_path / "nothing")] is None
    assert "torch" in here.packages
