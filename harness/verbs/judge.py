"""The verb ``judge``: compare a file of outputs with a reference, and print the leaderboard's row."""

from harness.judges.run import judge_outputs, judge_run


def main(arguments: list[str]) -> int:
    """``python -m harness judge outputs=FILE run=FOLDER [reference=FILE]``"""
    return judge_outputs(judge_run(arguments), arguments)
