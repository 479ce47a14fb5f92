"""The verb ``train``: the models that guidance needs, from data or from a reward."""

from harness.config.compose import compose
from harness.config.schema import validated
from harness.training.config import Train
from harness.training.run import train_models


def main(arguments: list[str]) -> int:
    """``python -m harness train train=sft|dpo|pair|fudge|reward|all data=… base=… out=…``"""
    train_models(validated(Train, compose("train", arguments).config))
    return 0
