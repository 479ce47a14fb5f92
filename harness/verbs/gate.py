"""The verb ``gate``: whether a run lost quality against a recorded baseline, or against other code on its models."""

from harness.config.compose import compose
from harness.config.schema import validated
from harness.gate.baseline import SWITCH
from harness.gate.config import Gate
from harness.gate.run import hold


def main(arguments: list[str]) -> int:
    """``python -m harness gate [--record] run=runs/NAME baseline=FILE``: 0 pass, 1 regression, 4 inconclusive;
    ``against=COMMIT``: also 5 changed."""
    overrides = [word for word in arguments if word != SWITCH]
    return hold(validated(Gate, compose("gate", overrides).config), recording=SWITCH in arguments)
