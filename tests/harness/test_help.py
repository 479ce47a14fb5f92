"""``VERB --help``: every key of the verb's configuration is there, with its default."""

import re

import pytest

from harness.cli import main
from harness.config.compose import compose, dotted

PRIMARY = {"sweep": "sweep", "doctor": "sweep", "report": "report", "gate": "gate", "bench": "bench", "judge": "judge",
           "submit": "submit", "train": "train"}  # fmt: skip
OPEN = ("task", "model", "judge", "published", "metrics", "same_models", "guider")  # their keys are those of the choice


@pytest.mark.parametrize("verb", PRIMARY)
def test_help_lists_every_option(verb, capsys):
    assert main([verb, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: python -m harness {verb} ")
    values = compose(PRIMARY[verb], []).config
    keys = [key.rpartition(".")[2] for key in dotted(values) if key.partition(".")[0] not in OPEN]
    assert keys
    assert [key for key in keys if not re.search(rf"\b{key}\b", said)] == []
